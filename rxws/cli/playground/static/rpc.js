// JSON-RPC 2.0 over a WebSocket that reconnects. Streams are those of rxws.rpc.

const FIRST_WAIT = 500, LONGEST_WAIT = 5000; // milliseconds

export class Link {
  /** `onState` gets "open", or the milliseconds until the next attempt. */
  constructor(path, onState) {
    this.url = location.origin.replace(/^http/, "ws") + path;
    this.onState = onState;
    this.calls = new Map();
    this.streams = new Map();
    this.number = 0;
    this.wait = FIRST_WAIT;
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    const socket = (this.socket = new WebSocket(this.url));
    socket.onopen = () => {
      this.wait = FIRST_WAIT;
      this.onState("open");
    };
    socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
    socket.onclose = () => {
      for (const { reject } of this.calls.values()) reject(new Lost("the connection to the playground was lost"));
      this.calls.clear();
      this.streams.clear();
      this.timer = setTimeout(() => this.open(), this.wait);
      this.onState(this.wait);
      this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
    };
  }

  receive({ id, method, params, result, error }) {
    if (method === "$/progress") {
      for (const item of params.value) this.streams.get(params.token)?.(item);
      return;
    }
    const call = this.calls.get(id);
    if (!call) return;
    this.calls.delete(id);
    this.streams.delete(id);
    if (error) call.reject(new Error(error.message));
    else call.resolve(result);
  }

  call(method, params = {}) {
    return this.request(method, params).answer;
  }

  /** Call `onItem` with each item; `cancel()` ends the stream, `answer` reports its end. */
  stream(method, params, onItem) {
    const { id, answer } = this.request(method, { ...params, partialResultToken: this.number + 1 });
    this.streams.set(id, onItem);
    answer.catch(() => {});
    const cancel = () => {
      if (this.streams.delete(id)) this.send({ method: "$/cancelRequest", params: { id } });
    };
    return { answer, cancel };
  }

  request(method, params) {
    const id = ++this.number;
    const answer = new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
    if (!this.send({ id, method, params })) {
      this.calls.get(id).reject(new Lost("not connected to the playground"));
      this.calls.delete(id);
    }
    return { id, answer };
  }

  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
    return true;
  }
}

export class Lost extends Error {}
