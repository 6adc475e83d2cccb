// Calls the methods of a server, and prints what it got as JSON: node client.js URL
"use strict";

const rpc = require("vscode-jsonrpc/node");
const WebSocket = require("ws");
const { connect } = require("./transport");

const failure = (error) => ({ code: error.code, message: error.message, data: error.data });

async function main(url) {
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  const connection = connect(socket);
  const got = { notified: [], items: [] };
  connection.onRequest("twice", (number) => 2 * number);
  connection.onNotification("hello", (...params) => got.notified.push(params));
  connection.onProgress(new rpc.ProgressType(), "token", (items) => got.items.push(...items));
  connection.listen();

  got.position = await connection.sendRequest("add", 1, 2);
  got.name = await connection.sendRequest("add", rpc.ParameterStructures.byName, { a: 3, b: 4 });
  got.unknown = await connection.sendRequest("nope").catch(failure);
  got.wrong = await connection.sendRequest("add", "x", 2).catch(failure);
  got.refused = await connection.sendRequest("refuse").catch(failure);
  got.callback = await connection.sendRequest("ask_back", 21);
  got.array = await connection.sendRequest("count", 3);
  got.streamed = await connection.sendRequest("count", { to: 4, partialResultToken: "token" });

  const source = new rpc.CancellationTokenSource();
  const waiting = connection.sendRequest("wait", source.token).catch(failure);
  await connection.sendRequest("add", 0, 0); // so that the method has begun
  source.cancel();
  got.cancelled = await waiting;
  await connection.sendNotification("greet", "node");
  await connection.sendRequest("add", 0, 0); // so that the notification has come back

  console.log(JSON.stringify(got));
  socket.close(1000);
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
