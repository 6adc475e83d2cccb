// vscode-jsonrpc over a WebSocket.
"use strict";

const rpc = require("vscode-jsonrpc/node");

class Reader extends rpc.AbstractMessageReader {
  constructor(socket) {
    super();
    this.socket = socket;
  }
  listen(callback) {
    this.socket.on("message", (data) => callback(JSON.parse(data.toString())));
    this.socket.on("close", () => this.fireClose());
    return rpc.Disposable.create(() => {});
  }
}

class Writer extends rpc.AbstractMessageWriter {
  constructor(socket) {
    super();
    this.socket = socket;
  }
  async write(message) {
    this.socket.send(JSON.stringify(message));
  }
  end() {}
}

const silent = { error() {}, warn() {}, info() {}, log() {} };

exports.connect = (socket) =>
  rpc.createMessageConnection(new Reader(socket), new Writer(socket), silent);
