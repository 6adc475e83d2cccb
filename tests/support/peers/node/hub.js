// A client of a hub, steered by lines of JSON on stdin: node hub.js URL OPTIONS
//
// Each line is {"id", "op", ...}; it is answered with {"id", "result"} or {"id", "error"}. Events of
// the client are lines {"event", ...}. `OPTIONS.tokens` are what getToken returns, one by one.
"use strict";

const readline = require("node:readline");
const { Centrifuge } = require("centrifuge");

const [url, given] = process.argv.slice(2);
const options = JSON.parse(given);
const write = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const tokensOf = (name, tokens) => async () => {
  const token = tokens.length > 1 ? tokens.shift() : tokens[0];
  write({ event: "token", of: name, token });
  return token;
};

const settings = { ...options };
if (options.tokens) settings.getToken = tokensOf("connection", options.tokens);
const client = new Centrifuge(url, settings);
for (const name of ["connected", "connecting", "disconnected", "error", "message"])
  client.on(name, (context) => write({ event: name, ...context }));

const operations = {
  connect: () => (client.connect(), client.ready()),
  disconnect: () => client.disconnect(),
  subscribe({ channel, options }) {
    const settings = { ...options };
    if (options.tokens) settings.getToken = tokensOf(channel, options.tokens);
    const subscription = client.getSubscription(channel) || client.newSubscription(channel, settings);
    if (!subscription.watched)
      for (const name of ["subscribed", "subscribing", "unsubscribed", "publication", "join", "leave", "error"])
        subscription.on(name, (context) => write({ event: name, ...context }));
    subscription.watched = true;
    subscription.subscribe();
    return subscription.ready();
  },
  unsubscribe: ({ channel }) => client.getSubscription(channel).unsubscribe(),
  publish: ({ channel, data }) => client.publish(channel, data),
  history: ({ channel, options }) => client.history(channel, options),
  presence: ({ channel }) => client.presence(channel),
  presence_stats: ({ channel }) => client.presenceStats(channel),
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, op, ...args } = JSON.parse(line);
  try {
    write({ id, result: (await operations[op](args)) ?? null });
  } catch (error) {
    write({ id, error: { code: error.code, message: String(error.message) } });
  }
}).on("close", () => process.exit(0));
