// `ollama` of npm: every method that a server of one's own answers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";
import { all, ANSWER, CLOCK, FOX, HI, length, models, PIXEL, QUESTION, SCHEMA, THOUGHT, url, WEATHER } from "./adapter.mjs";

const client = new Ollama({ host: url });

test("the version, the listing, what a model is and what is loaded", async () => {
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+/);
  const listed = (await client.list()).models;
  const names = listed.map((model) => model.model);
  for (const name of [models.text, `${models.tools}:latest`, models.vision]) assert.ok(names.includes(name), name);
  for (const model of listed) {
    assert.equal(model.name, model.model);
    assert.match(model.digest, /^[0-9a-f]{64}$/);
    assert.ok(model.size > 0);
    assert.ok(!Number.isNaN(Date.parse(model.modified_at)));
  }
  const shown = await client.show({ model: models.tools });
  assert.deepEqual(shown.capabilities, ["completion", "tools"]);
  assert.equal(shown.model_info["llama.context_length"], 2048);
  assert.equal(shown.details.family, "llama");
  await client.chat({ model: models.text, messages: HI, keep_alive: "10m" });
  const running = (await client.ps()).models.find((model) => model.model === models.text);
  assert.ok(Date.parse(running.expires_at) > Date.parse("2020-01-01"));
  assert.ok(running.size_vram >= 0);
  await client.generate({ model: models.text, prompt: "", keep_alive: 0 });
  assert.ok(!(await client.ps()).models.some((model) => model.model === models.text));
});

test("generate, whole: text, metrics, context", async () => {
  const answer = await client.generate({ model: models.text, prompt: "The sky", system: "Be brief." });
  assert.equal(answer.response.trim(), FOX);
  assert.deepEqual([answer.done, answer.done_reason, answer.model], [true, "stop", models.text]);
  assert.ok(answer.context.length > 0);
  for (const field of ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"])
    assert.ok(answer[field] > 0, field);
});

test("a system prompt is part of the prompt", async () => {
  const options = { num_predict: 1 };
  const bare = await client.generate({ model: models.text, prompt: "hi", options });
  const told = await client.generate({ model: models.text, prompt: "hi", system: "Be brief.", options });
  assert.ok(told.prompt_eval_count > bare.prompt_eval_count);
});

test("generate, streamed; it goes on from the context", async () => {
  const parts = await all(await client.generate({ model: models.text, prompt: "The sky", stream: true, options: { num_predict: 5 } }));
  assert.deepEqual(parts.map((part) => part.done), [...Array(parts.length - 1).fill(false), true]);
  assert.equal(parts.map((part) => part.response).join(""), " The quick brown fox jumps");
  assert.equal(parts.at(-1).done_reason, "length");
  const again = await client.generate({ model: models.text, prompt: "more", context: parts.at(-1).context, options: { num_predict: 2 } });
  assert.ok(again.prompt_eval_count > parts.at(-1).prompt_eval_count);
});

test("chat, whole and streamed", async () => {
  const messages = [{ role: "system", content: "Be brief." }, ...HI];
  const whole = await client.chat({ model: models.text, messages });
  assert.deepEqual([whole.message.role, whole.message.content.trim()], ["assistant", FOX]);
  const parts = await all(await client.chat({ model: models.text, messages, stream: true }));
  assert.ok(parts.length > 3);
  assert.ok(parts.every((part) => part.message.role === "assistant"));
  assert.equal(parts.map((part) => part.message.content).join(""), whole.message.content);
  assert.equal(parts.at(-1).eval_count, whole.eval_count);
});

test("options end an answer", async () => {
  const ask = (options) => client.chat({ model: models.text, messages: HI, options });
  const short = await ask({ num_predict: 3, temperature: 0, seed: 7, top_k: 20, top_p: 0.9, min_p: 0.1, num_ctx: 1024, mirostat: 0 });
  assert.deepEqual([short.message.content, short.done_reason, short.eval_count], [" The quick brown", "length", 3]);
  const stopped = await ask({ stop: [" fox", "never"] });
  assert.deepEqual([stopped.message.content, stopped.done_reason], [" The quick brown", "stop"]);
});

test("formats: json and a schema, whole and streamed", async () => {
  for (const format of ["json", SCHEMA]) {
    const whole = await client.chat({ model: models.text, messages: HI, format });
    assert.ok(Number.isInteger(JSON.parse(whole.message.content).answer));
    const parts = await all(await client.generate({ model: models.text, prompt: "hi", format, stream: true }));
    assert.ok(Number.isInteger(JSON.parse(parts.map((part) => part.response).join("")).answer));
  }
});

test("thoughts come apart from the text, and not at all when they are off", async () => {
  const on = await client.chat({ model: models.thinking, messages: HI, think: true });
  assert.deepEqual([on.message.thinking, on.message.content], [THOUGHT, ANSWER]);
  const parts = await all(await client.chat({ model: models.thinking, messages: HI, think: true, stream: true }));
  assert.equal(parts.map((part) => part.message.thinking ?? "").join(""), THOUGHT);
  assert.equal(parts.map((part) => part.message.content).join(""), ANSWER);
  const off = await client.chat({ model: models.thinking, messages: HI, think: false });
  assert.equal(off.message.thinking, undefined);
  assert.ok(off.message.content);
  const generated = await client.generate({ model: models.thinking, prompt: "hi", think: true });
  assert.deepEqual([generated.thinking, generated.response], [THOUGHT, ANSWER]);
  await assert.rejects(client.chat({ model: models.text, messages: HI, think: true }), {
    name: "ResponseError", status_code: 400, message: /does not support thinking/,
  });
});

test("tools: one of several is called, whole and streamed; results go back", async () => {
  const tools = [WEATHER, CLOCK];
  const first = await client.chat({ model: models.tools, messages: [QUESTION], tools });
  const expected = { name: "get_weather", arguments: { city: "Paris" } };
  assert.equal(first.message.tool_calls.length, 1);
  const { name, arguments: given } = first.message.tool_calls[0].function;
  assert.deepEqual({ name, arguments: given }, expected);
  const parts = await all(await client.chat({ model: models.tools, messages: [QUESTION], tools, stream: true }));
  const calls = parts.flatMap((part) => part.message.tool_calls ?? []);
  assert.deepEqual(calls.map((call) => call.function.arguments), [{ city: "Paris" }]);
  const result = { role: "tool", tool_name: "get_weather", content: "sunny" };
  const second = await client.chat({ model: models.tools, messages: [QUESTION, first.message, result] });
  assert.ok(second.message.content);
  assert.equal(second.message.tool_calls, undefined);
});

test("a conversation with several calls and their results goes on", async () => {
  const call = (name, city) => ({ function: { name, arguments: { city } } });
  const messages = [
    QUESTION,
    { role: "assistant", content: "", tool_calls: [call("get_weather", "Paris"), call("get_time", "Rome")] },
    { role: "tool", tool_name: "get_weather", content: "sunny" },
    { role: "tool", tool_name: "get_time", content: "noon" },
  ];
  const answer = await client.chat({ model: models.tools, messages });
  assert.ok(answer.message.content);
  const shorter = await client.chat({ model: models.tools, messages: messages.slice(0, 1) });
  assert.ok(answer.prompt_eval_count > shorter.prompt_eval_count);
});

test("tools are refused by a model that has none", async () => {
  await assert.rejects(client.chat({ model: models.text, messages: HI, tools: [WEATHER] }), {
    name: "ResponseError", status_code: 400, message: /does not support tools/,
  });
});

test("embeddings: one, several, shortened, the older route", async () => {
  const several = await client.embed({ model: models.embedding, input: ["hello", "world"], truncate: true });
  assert.deepEqual(several.embeddings.map((vector) => vector.length), [384, 384]);
  assert.ok(Math.abs(length(several.embeddings[0]) - 1) < 1e-5);
  assert.ok(several.prompt_eval_count > 0 && several.total_duration > 0 && several.load_duration >= 0);
  const one = await client.embed({ model: models.embedding, input: "hello" });
  assert.deepEqual(one.embeddings, several.embeddings.slice(0, 1));
  const short = await client.embed({ model: models.embedding, input: "hello", dimensions: 16 });
  assert.equal(short.embeddings[0].length, 16);
  assert.equal((await client.embeddings({ model: models.embedding, prompt: "hello" })).embedding.length, 384);
});

test("pictures go to the model that sees", async () => {
  const answer = await client.generate({ model: models.vision, prompt: "What is this?", images: [PIXEL] });
  assert.equal(answer.response, "a cat");
});

test("log probabilities", async () => {
  const answer = await client.generate({ model: models.text, prompt: "The sky", logprobs: true, top_logprobs: 2, options: { num_predict: 2 } });
  assert.deepEqual(answer.logprobs.map((entry) => entry.token), [" The", " quick"]);
  for (const entry of answer.logprobs) {
    assert.ok(entry.logprob <= 0);
    assert.equal(entry.top_logprobs.length, 2);
  }
});

test("a stream that is aborted ends with AbortError, and the client goes on", async () => {
  const own = new Ollama({ host: url });
  const stream = await own.generate({ model: models.slow, prompt: "hi", stream: true });
  let seen = 0;
  await assert.rejects(
    (async () => {
      for await (const _ of stream) if (++seen === 2) own.abort();
    })(),
    { name: "AbortError" },
  );
  assert.ok(seen < 8, `${seen} parts`);
  assert.equal((await own.generate({ model: models.text, prompt: "hi" })).response.trim(), FOX);
});

test("models are made, copied, pulled and deleted, with progress", async () => {
  const child = "node-child";
  const steps = await all(await client.create({ model: child, from: models.text, system: "Be brief.", parameters: { num_predict: 2 }, stream: true }));
  assert.equal(steps.at(-1).status, "success");
  assert.equal((await client.generate({ model: child, prompt: "hi" })).eval_count, 2);
  assert.equal((await client.copy({ source: child, destination: "node-copy" })).status, "success");
  assert.equal((await client.delete({ model: "node-copy" })).status, "success");
  assert.equal((await client.delete({ model: child })).status, "success");
  await assert.rejects(client.show({ model: child }), { name: "ResponseError", status_code: 404 });
  assert.equal((await all(await client.pull({ model: models.text, stream: true }))).at(-1).status, "success");
  assert.equal((await client.pull({ model: models.text })).status, "success");
});

test("a model that is not there: 404 and Ollama's words, before any stream", async () => {
  const error = { name: "ResponseError", status_code: 404, message: "model 'no-such-model' not found" };
  await assert.rejects(client.generate({ model: "no-such-model", prompt: "hi" }), error);
  await assert.rejects(client.chat({ model: "no-such-model", messages: HI, stream: true }), error);
  await assert.rejects(client.embed({ model: "no-such-model", input: "hi" }), { ...error, message: /no-such-model/ });
  await assert.rejects(client.delete({ model: "no-such-model" }), { ...error, message: "model 'no-such-model' not found" });
});
