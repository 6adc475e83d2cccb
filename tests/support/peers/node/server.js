// Serves methods on a free port, and prints the port, then each cancellation: node server.js
"use strict";

const rpc = require("vscode-jsonrpc/node");
const { WebSocketServer } = require("ws");
const { connect } = require("./transport");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 }, () =>
  console.log(server.address().port),
);

server.on("connection", (socket) => {
  const connection = connect(socket);
  connection.onRequest("add", (a, b) => a + b);
  connection.onRequest("named", ({ a, b }) => a - b);
  connection.onRequest("fail", () => {
    throw new rpc.ResponseError(7, "no such user", { id: 3 });
  });
  connection.onRequest("ask_back", (number) => connection.sendRequest("twice", number));
  connection.onRequest("count", async ({ to, partialResultToken }) => {
    for (let number = 0; number < to; number++) {
      await connection.sendProgress(new rpc.ProgressType(), partialResultToken, [number]);
    }
    return null;
  });
  connection.onRequest(
    "wait",
    (token) => // without params, it is the only argument
      new Promise((resolve, reject) =>
        token.onCancellationRequested(() => {
          console.log("cancelled");
          reject(new rpc.ResponseError(-32800, "Request cancelled"));
        }),
      ),
  );
  connection.onNotification("greet", (name) => connection.sendNotification("hello", name, 1));
  connection.listen();
});

// Ends with the process that started it.
process.stdin.on("end", () => process.exit(0)).resume();
