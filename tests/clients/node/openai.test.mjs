// `openai` of npm, on the routes that Ollama has for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { FOX, models, url, weatherSchema } from "./models.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "ollama", maxRetries: 0 });
const hi = [{ role: "user", content: "hi" }];
const paris = [{ role: "user", content: "How is the weather in Paris?" }];
const tools = [
  { type: "function", function: { name: "get_weather", description: "The weather of a city", parameters: weatherSchema } },
];

test("chat", async () => {
  const answer = await client.chat.completions.create({ model: models.text, messages: hi });
  assert.equal(answer.choices[0].message.content.trim(), FOX);
  assert.deepEqual([answer.model, answer.choices[0].finish_reason], [models.text, "stop"]);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test("a stream with its usage", async () => {
  const stream = await client.chat.completions.create({
    model: models.text, messages: hi, max_tokens: 3, stream: true, stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  const choices = chunks.flatMap((chunk) => chunk.choices);
  assert.equal(choices.map((choice) => choice.delta.content ?? "").join(""), " The quick brown");
  assert.equal(choices.at(-1).finish_reason, "length");
  assert.equal(chunks.at(-1).usage.completion_tokens, 3);
});

test("tools there and back", async () => {
  const first = await client.chat.completions.create({ model: models.tools, messages: paris, tools });
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const [call] = first.choices[0].message.tool_calls;
  assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ["get_weather", { city: "Paris" }]);
  const result = { role: "tool", tool_call_id: call.id, content: "sunny" };
  const second = await client.chat.completions.create({
    model: models.tools, messages: [...paris, first.choices[0].message, result],
  });
  assert.ok(second.choices[0].message.content);
});

test("a runner calls the function by itself", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model: models.tools, messages: paris,
    tools: [{ type: "function", function: { ...tools[0].function, parse: JSON.parse, function: ({ city }) => { asked.push(city); return "sunny"; } } }],
  }, { maxChatCompletions: 2 });
  await runner.done(); // the miniature model calls whenever it may
  assert.deepEqual(asked, ["Paris", "Paris"]);
});

test("streamed tools", async () => {
  const stream = client.chat.completions.stream({ model: models.tools, messages: paris, tools });
  const final = await stream.finalChatCompletion();
  assert.deepEqual(final.choices[0].message.tool_calls.map((call) => JSON.parse(call.function.arguments)), [{ city: "Paris" }]);
});

test("a schema is parsed", async () => {
  const response_format = zodResponseFormat(z.object({ answer: z.number().int() }), "answer");
  const answer = await client.chat.completions.parse({ model: models.text, messages: hi, response_format });
  assert.equal(typeof answer.choices[0].message.parsed.answer, "number");
});

test("completions", async () => {
  const body = { model: models.text, prompt: "The sky", max_tokens: 2 };
  assert.equal((await client.completions.create(body)).choices[0].text, " The quick");
  let text = "";
  for await (const part of await client.completions.create({ ...body, stream: true })) text += part.choices[0]?.text ?? "";
  assert.equal(text, " The quick");
});

test("embeddings as numbers and as base64", async () => {
  const coded = await client.embeddings.create({ model: models.embedding, input: ["hello", "world"] }); // asks for base64
  const plain = await client.embeddings.create({ model: models.embedding, input: "hello", encoding_format: "float" });
  assert.deepEqual(coded.data.map((entry) => entry.embedding.length), [384, 384]);
  plain.data[0].embedding.forEach((number, index) => assert.ok(Math.abs(number - coded.data[0].embedding[index]) < 1e-6));
});

test("responses, whole and streamed", async () => {
  assert.equal((await client.responses.create({ model: models.text, input: "hi" })).output_text.trim(), FOX);
  const stream = client.responses.stream({ model: models.text, input: "hi" });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  assert.deepEqual([kinds[0], kinds.at(-1)], ["response.created", "response.completed"]);
  assert.equal((await stream.finalResponse()).output_text.trim(), FOX);
});

test("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  for (const name of [models.text, models.vision]) assert.ok(names.includes(name), name);
  assert.equal((await client.models.retrieve(models.text)).id, models.text);
});

test("errors are OpenAI's", async () => {
  await assert.rejects(client.chat.completions.create({ model: "no-such-model", messages: hi }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.error.message, "model 'no-such-model' not found");
    return true;
  });
  await assert.rejects(client.chat.completions.create({ model: models.text, messages: [] }), OpenAI.BadRequestError);
});

test("a stream can be left in the middle", async () => {
  const stream = await client.chat.completions.create({ model: models.text, messages: hi, stream: true });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
  assert.ok((await client.chat.completions.create({ model: models.text, messages: hi })).choices.length);
});
