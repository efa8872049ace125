// The workloads as handlers of a Restate service, as its documentation writes them: PORT RECEIVER_URL

const restate = require("@restatedev/restate-sdk");

const [port, receiver] = process.argv.slice(2);
const get = async () => (await fetch(receiver)).json();
const post = async (value) =>
  (
    await fetch(receiver, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(value),
    })
  ).json();

const peer = restate.service({
  name: "Peer",
  handlers: {
    twoCalls: async (ctx) => {
      const value = await ctx.run("get", get);
      return await ctx.run("post", () => post(value));
    },
    tenSteps: async (ctx) => {
      let value = 0;
      for (let number = 0; number < 10; number++) {
        value = await ctx.run("nothing", () => number);
      }
      return value;
    },
    tenCalls: async (ctx) => {
      let value = null;
      for (let number = 0; number < 10; number++) {
        value = await ctx.run("get", get);
      }
      return value;
    },
  },
});

restate.serve({ services: [peer], port: Number(port) });
