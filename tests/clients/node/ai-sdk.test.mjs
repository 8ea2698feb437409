// `ollama-ai-provider-v2` under Vercel's `ai`: its schemas are strict, so a field that is missing or of another type fails.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APICallError, embed, embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { createOllama } from "ollama-ai-provider-v2";
import { z } from "zod";
import { all, ANSWER, FOX, length, models, PIXEL_BASE64, QUESTION, THOUGHT, url } from "./adapter.mjs";

const ollama = createOllama({ baseURL: `${url}/api` });
const plain = ollama(models.text);
const schema = z.object({ answer: z.number().int() });
const thinks = (think) => ({ ollama: { think } });
const inputSchema = z.object({ city: z.string() });
const weather = tool({ description: "The weather of a city", inputSchema, execute: async ({ city }) => `sunny in ${city}` });
const clock = tool({ description: "The time in a city", inputSchema, execute: async () => "noon" });
const tools = { get_weather: weather, get_time: clock };

test("generateText: text, reason, usage", async () => {
  const answer = await generateText({ model: plain, system: "Be brief.", prompt: "hi" });
  assert.equal(answer.text.trim(), FOX);
  assert.equal(answer.finishReason, "stop");
  assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
  assert.equal(answer.response.modelId, models.text);
  assert.deepEqual(answer.warnings, []);
});

test("streamText: the same text, in pieces", async () => {
  const answer = streamText({ model: plain, prompt: "hi", onError: ({ error }) => assert.fail(error) });
  const pieces = await all(answer.textStream);
  assert.ok(pieces.length > 3);
  assert.equal(pieces.join("").trim(), FOX);
  assert.equal(await answer.finishReason, "stop");
  assert.ok((await answer.usage).outputTokens > 0);
});

test("options end an answer; what this provider writes beside them is ignored, as by Ollama", async () => {
  const ask = async (options) => {
    const { text, finishReason } = await generateText({ model: plain, prompt: "hi", providerOptions: { ollama: { options } } });
    return [text, finishReason];
  };
  assert.deepEqual(await ask({ num_predict: 3, temperature: 0, top_k: 20, top_p: 0.9, min_p: 0.1, seed: 7, num_ctx: 1024 }), [" The quick brown", "length"]);
  assert.deepEqual(await ask({ stop: [" fox"] }), [" The quick brown", "stop"]);
  const beside = await generateText({ model: plain, prompt: "hi", maxOutputTokens: 3, temperature: 0, topP: 0.9 });
  assert.deepEqual([beside.text.trim(), beside.finishReason], [FOX, "stop"]);
});

test("generateObject and streamObject keep the schema", async () => {
  assert.ok(Number.isInteger((await generateObject({ model: plain, schema, prompt: "What is the answer?" })).object.answer));
  const streamed = streamObject({ model: plain, schema, prompt: "What is the answer?", onError: ({ error }) => assert.fail(error) });
  assert.ok((await all(streamed.partialObjectStream)).length > 0);
  assert.ok(Number.isInteger((await streamed.object).answer));
});

test("thoughts are reasoning, apart from the text, and none when they are off", async () => {
  const model = ollama(models.thinking);
  const on = await generateText({ model, prompt: "hi", providerOptions: thinks(true) });
  assert.deepEqual([on.reasoningText, on.text], [THOUGHT, ANSWER]);
  const parts = await all(streamText({ model, prompt: "hi", providerOptions: thinks(true) }).fullStream);
  const texts = (type) => parts.filter((part) => part.type === type).map((part) => part.text).join("");
  assert.deepEqual([texts("reasoning-delta"), texts("text-delta")], [THOUGHT, ANSWER]);
  const off = await generateText({ model, prompt: "hi", providerOptions: thinks(false) });
  assert.equal(off.reasoningText, undefined);
  assert.ok(off.text);
});

// The miniature model calls as long as it may: from the second step on it may not.
const prepareStep = ({ stepNumber }) => (stepNumber > 0 ? { activeTools: [] } : {});
const loop = { model: ollama(models.tools), messages: [QUESTION], tools, stopWhen: stepCountIs(3), prepareStep };

test("a loop over tools: called, run, answered", async () => {
  const answer = await generateText(loop);
  assert.equal(answer.steps.length, 2);
  const [first, second] = answer.steps;
  assert.equal(first.finishReason, "tool-calls");
  assert.deepEqual(first.toolCalls.map(({ toolName, input }) => ({ toolName, input })), [{ toolName: "get_weather", input: { city: "Paris" } }]);
  assert.deepEqual(first.toolResults.map((result) => result.output), ["sunny in Paris"]);
  assert.ok(second.text);
  assert.equal(second.finishReason, "stop");
});

test("the same loop, streamed", async () => {
  const parts = await all(streamText(loop).fullStream);
  const types = parts.map((part) => part.type);
  assert.ok(!types.includes("error"), JSON.stringify(parts.filter((part) => part.type === "error").map((part) => String(part.error))));
  const call = parts.find((part) => part.type === "tool-call");
  assert.deepEqual([call.toolName, call.input], ["get_weather", { city: "Paris" }]);
  assert.equal(parts.find((part) => part.type === "tool-result").output, "sunny in Paris");
  assert.ok(parts.filter((part) => part.type === "text-delta").length > 0);
  assert.equal(types.filter((type) => type === "finish-step").length, 2);
});

test("embed and embedMany", async () => {
  const model = ollama.embeddingModel(models.embedding);
  const one = await embed({ model, value: "hello" });
  assert.equal(one.embedding.length, 384);
  assert.ok(Math.abs(length(one.embedding) - 1) < 1e-5);
  assert.ok(one.usage.tokens > 0);
  const many = await embedMany({ model, values: ["hello", "world"] });
  assert.deepEqual(many.embeddings.map((vector) => vector.length), [384, 384]);
  const short = await embed({ model, value: "hello", providerOptions: { ollama: { dimensions: 16 } } });
  assert.equal(short.embedding.length, 16);
});

test("a completion has the context that its schema asks for", async () => {
  const answer = await generateText({ model: ollama.completion(models.text), prompt: "The sky", maxOutputTokens: 20 });
  assert.equal(answer.text.trim(), FOX);
});

test("a picture goes to the model that sees", async () => {
  const content = [{ type: "text", text: "What is this?" }, { type: "image", image: PIXEL_BASE64, mediaType: "image/png" }];
  const answer = await generateText({ model: ollama(models.vision), messages: [{ role: "user", content }] });
  assert.equal(answer.text, "a cat");
});

test("a stream that is aborted ends, and the next request is answered", async () => {
  const abort = new AbortController();
  const aborted = [];
  const stream = streamText({ model: ollama(models.slow), prompt: "hi", abortSignal: abort.signal, onAbort: () => aborted.push(true) });
  for await (const part of stream.fullStream) if (part.type === "text-delta") abort.abort();
  assert.deepEqual(aborted, [true]);
  assert.equal((await generateText({ model: plain, prompt: "hi" })).text.trim(), FOX);
});

test("a model that is not there is an APICallError of 404, with Ollama's words in its body", async () => {
  for (const call of [
    () => generateText({ model: ollama("no-such-model"), prompt: "hi", maxRetries: 0 }),
    () => embed({ model: ollama.embeddingModel("no-such-model"), value: "hi", maxRetries: 0 }),
  ]) {
    const error = await call().then(() => assert.fail("answered"), (reason) => reason);
    assert.ok(APICallError.isInstance(error), String(error));
    assert.equal(error.statusCode, 404);
    assert.match(JSON.parse(error.responseBody).error, /model ['"]no-such-model['"] not found/);
  }
});
