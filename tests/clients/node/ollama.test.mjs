// `ollama` of npm: every method.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";
import { FOX, length, models, url, weatherSchema } from "./models.mjs";

const client = new Ollama({ host: url });
const hi = [{ role: "user", content: "hi" }];
const paris = [{ role: "user", content: "How is the weather in Paris?" }];
const weather = {
  type: "function",
  function: { name: "get_weather", description: "The weather of a city", parameters: weatherSchema },
};

async function collected(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

test("generate and its metrics", async () => {
  const answer = await client.generate({ model: models.text, prompt: "The sky", system: "Be brief." });
  assert.equal(answer.response.trim(), FOX);
  assert.equal(answer.done_reason, "stop");
  for (const name of ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"])
    assert.ok(answer[name] > 0, name);
  assert.ok(answer.context.length > 0);
  assert.ok(!Number.isNaN(Date.parse(answer.created_at)));
});

test("generate streams and goes on with its context", async () => {
  const options = { num_predict: 5 };
  const parts = await collected(await client.generate({ model: models.text, prompt: "The sky", stream: true, options }));
  assert.equal(parts.map((part) => part.response).join(""), " The quick brown fox jumps");
  assert.deepEqual(parts.map((part) => part.done), [...Array(parts.length - 1).fill(false), true]);
  assert.equal(parts.at(-1).done_reason, "length");
  const again = await client.generate({ model: models.text, prompt: "more", context: parts.at(-1).context, options });
  assert.ok(again.prompt_eval_count > parts.at(-1).prompt_eval_count);
});

test("chat streams", async () => {
  const parts = await collected(await client.chat({ model: models.text, messages: hi, stream: true }));
  assert.equal(parts.map((part) => part.message.content).join("").trim(), FOX);
  assert.ok(parts.every((part) => part.message.role === "assistant"));
});

test("a function is called and its result is taken", async () => {
  const first = await client.chat({ model: models.tools, messages: paris, tools: [weather] });
  const [call] = first.message.tool_calls;
  assert.deepEqual([call.function.name, call.function.arguments], ["get_weather", { city: "Paris" }]);
  const result = { role: "tool", content: "sunny", tool_name: "get_weather" };
  const second = await client.chat({ model: models.tools, messages: [...paris, first.message, result] });
  assert.ok(second.message.content);
  assert.equal(second.message.tool_calls, undefined);
});

test("a streamed call comes whole", async () => {
  const parts = await collected(await client.chat({ model: models.tools, messages: paris, tools: [weather], stream: true }));
  const calls = parts.flatMap((part) => part.message.tool_calls ?? []);
  assert.deepEqual(calls.map((call) => call.function.arguments), [{ city: "Paris" }]);
});

test("thoughts come apart from the text", async () => {
  const answer = await client.chat({ model: models.thinking, messages: hi, think: true });
  assert.deepEqual([answer.message.thinking, answer.message.content], ["Let me ponder", "Answer is ready!"]);
  const parts = await collected(await client.chat({ model: models.thinking, messages: hi, think: true, stream: true }));
  assert.equal(parts.map((part) => part.message.thinking ?? "").join(""), "Let me ponder");
  assert.equal(parts.map((part) => part.message.content).join(""), "Answer is ready!");
  const without = await client.chat({ model: models.thinking, messages: hi, think: false });
  assert.equal(without.message.thinking, undefined);
  await assert.rejects(client.chat({ model: models.text, messages: hi, think: true }), {
    name: "ResponseError", status_code: 400, message: /does not support thinking/,
  });
});

test("formats are kept", async () => {
  const schema = { type: "object", properties: { answer: { type: "integer" } }, required: ["answer"] };
  for (const format of ["json", schema]) {
    const answer = await client.chat({ model: models.text, messages: hi, format });
    assert.equal(typeof JSON.parse(answer.message.content).answer, "number");
  }
});

test("log probabilities", async () => {
  const options = { num_predict: 2 };
  const answer = await client.generate({ model: models.text, prompt: "The sky", logprobs: true, top_logprobs: 2, options });
  assert.deepEqual(answer.logprobs.map((entry) => entry.token), [" The", " quick"]);
  assert.ok(answer.logprobs.every((entry) => entry.top_logprobs.length === 2));
});

test("embed and the older embeddings", async () => {
  const answer = await client.embed({ model: models.embedding, input: ["hello", "world"] });
  assert.deepEqual(answer.embeddings.map((vector) => vector.length), [384, 384]);
  assert.ok(Math.abs(length(answer.embeddings[0]) - 1) < 1e-5);
  const short = await client.embed({ model: models.embedding, input: "hello", dimensions: 16 });
  assert.equal(short.embeddings[0].length, 16);
  const older = await client.embeddings({ model: models.embedding, prompt: "hello" });
  assert.equal(older.embedding.length, 384);
});

test("a picture goes to the model that sees", async () => {
  const images = [new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, ...Array(64).fill(0)])];
  const answer = await client.generate({ model: models.vision, prompt: "What is this?", images, stream: false });
  assert.ok(answer.response);
});

test("the listings", async () => {
  const names = (await client.list()).models.map((model) => model.model);
  for (const name of [models.text, `${models.tools}:latest`, models.vision]) assert.ok(names.includes(name), name);
  const shown = await client.show({ model: models.tools });
  assert.ok(shown.capabilities.includes("tools"));
  assert.equal(shown.model_info["llama.context_length"], 2048);
  await client.chat({ model: models.text, messages: hi, keep_alive: "10m" });
  const running = (await client.ps()).models.find((model) => model.model === models.text);
  assert.ok(Date.parse(running.expires_at) > Date.now());
  await client.generate({ model: models.text, prompt: "", keep_alive: 0 });
  assert.ok(!(await client.ps()).models.some((model) => model.model === models.text));
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+/);
});

test("models are made, copied, pulled and deleted", async () => {
  const parameters = { num_predict: 2 };
  assert.equal((await client.create({ model: "npm-child", from: models.text, system: "Be brief.", parameters })).status, "success");
  try {
    assert.equal((await client.generate({ model: "npm-child", prompt: "hi" })).eval_count, 2);
    assert.equal((await client.copy({ source: "npm-child", destination: "npm-copy" })).status, "success");
    assert.equal((await client.delete({ model: "npm-copy" })).status, "success");
  } finally {
    await client.delete({ model: "npm-child" });
  }
  const steps = await collected(await client.pull({ model: models.text, stream: true }));
  assert.equal(steps.at(-1).status, "success");
});

test("a model that is not there is an error with its name", async () => {
  const expected = { name: "ResponseError", status_code: 404, message: "model 'no-such-model' not found" };
  await assert.rejects(client.generate({ model: "no-such-model", prompt: "hi" }), expected);
  await assert.rejects(client.chat({ model: "no-such-model", messages: hi, stream: true }), expected);
});

test("a stream can be left in the middle", async () => {
  const own = new Ollama({ host: url }); // abort() ends all of a client's streams
  for await (const part of await own.generate({ model: models.text, prompt: "hi", stream: true })) {
    assert.equal(part.done, false);
    break;
  }
  own.abort();
  assert.equal((await own.generate({ model: models.text, prompt: "hi" })).response.trim(), FOX);
});
