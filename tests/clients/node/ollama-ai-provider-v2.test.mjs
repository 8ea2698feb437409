// `ollama-ai-provider-v2` under `ai`, whose schemas refuse an answer in which a field is missing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { embed, embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { createOllama } from "ollama-ai-provider-v2";
import { z } from "zod";
import { FOX, models, url } from "./models.mjs";

const ollama = createOllama({ baseURL: `${url}/api` });
const get_weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

test("text and its usage", async () => {
  const answer = await generateText({ model: ollama(models.text), system: "Be brief.", prompt: "hi" });
  assert.equal(answer.text.trim(), FOX);
  assert.equal(answer.finishReason, "stop");
  assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
});

test("an answer that was cut says so", async () => {
  // Not maxOutputTokens: this client sends it by a name that Ollama does not know.
  const providerOptions = { ollama: { options: { num_predict: 3 } } };
  const answer = await generateText({ model: ollama(models.text), prompt: "hi", providerOptions });
  assert.deepEqual([answer.text.trim(), answer.finishReason], ["The quick brown", "length"]);
});

test("a stream", async () => {
  const stream = streamText({ model: ollama(models.text), prompt: "hi", onError: ({ error }) => { throw error; } });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  assert.equal(text.trim(), FOX);
  assert.equal(await stream.finishReason, "stop");
  assert.ok((await stream.usage).outputTokens > 0);
});

test("the completion model, whose schema wants a context", async () => {
  // Whole only: streamed, this client wants a context in every line, and Ollama has one in the last.
  const answer = await generateText({ model: ollama.completion(models.text), prompt: "The sky" });
  assert.equal(answer.text.trim(), FOX);
});

test("an object of a schema, whole and streamed", async () => {
  const schema = z.object({ answer: z.number().int() });
  const { object } = await generateObject({ model: ollama(models.text), schema, prompt: "What is the answer?" });
  assert.equal(typeof object.answer, "number");
  const stream = streamObject({ model: ollama(models.text), schema, prompt: "What is the answer?" });
  for await (const _ of stream.partialObjectStream);
  assert.equal(typeof (await stream.object).answer, "number");
});

test("a tool is called with an object", async () => {
  const answer = await generateText({ model: ollama(models.tools), prompt: "Weather in Paris?", tools: { get_weather } });
  assert.deepEqual(answer.toolCalls.map((call) => [call.toolName, call.input]), [["get_weather", { city: "Paris" }]]);
  assert.deepEqual(answer.toolResults.map((result) => result.output), ["sunny in Paris"]);
});

test("a loop of tools ends where its user says", async () => {
  // The miniature model calls whenever it may; the second step sends the result of the first.
  const answer = await generateText({
    model: ollama(models.tools), prompt: "Weather in Paris?", tools: { get_weather }, stopWhen: stepCountIs(2),
  });
  assert.equal(answer.steps.length, 2);
  assert.deepEqual(answer.steps.map((step) => step.toolCalls.length), [1, 1]);
});

test("a streamed call", async () => {
  const stream = streamText({ model: ollama(models.tools), prompt: "Weather in Paris?", tools: { get_weather } });
  const calls = [];
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "tool-call") calls.push(part.input);
  }
  assert.deepEqual(calls, [{ city: "Paris" }]);
});

test("thoughts are reasoning", async () => {
  const providerOptions = { ollama: { think: true } };
  const answer = await generateText({ model: ollama(models.thinking), prompt: "hi", providerOptions });
  assert.deepEqual([answer.reasoningText.trim(), answer.text.trim()], ["Let me ponder", "Answer is ready!"]);
  const stream = streamText({ model: ollama(models.thinking), prompt: "hi", providerOptions });
  let [reasoning, text] = ["", ""];
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "reasoning-delta") reasoning += part.text;
    if (part.type === "text-delta") text += part.text;
  }
  assert.deepEqual([reasoning.trim(), text.trim()], ["Let me ponder", "Answer is ready!"]);
});

test("embeddings", async () => {
  const model = ollama.textEmbeddingModel(models.embedding);
  assert.equal((await embed({ model, value: "hello" })).embedding.length, 384);
  const many = await embedMany({ model, values: ["hello", "world", "hello"] });
  assert.deepEqual(many.embeddings.map((vector) => vector.length), [384, 384, 384]);
  assert.ok(many.usage.tokens > 0);
});

test("a model that is not there is a 404", async () => {
  await assert.rejects(generateText({ model: ollama("no-such-model"), prompt: "hi", maxRetries: 0 }), (error) => {
    assert.equal(error.statusCode, 404);
    assert.match(error.responseBody, /model 'no-such-model' not found/);
    return true;
  });
});
