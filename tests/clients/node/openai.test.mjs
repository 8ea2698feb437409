// `openai` of npm, on the routes that Ollama has for it.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { all, ANSWER, CLOCK, FOX, HI, length, models, PIXEL_BASE64, QUESTION, SCHEMA, THOUGHT, url, WEATHER } from "./adapter.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "ollama", maxRetries: 0 });
const chat = (body, options) => client.chat.completions.create({ model: models.text, messages: HI, ...body }, options);
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

test("chat: text, reason, usage", async () => {
  const answer = await chat({ messages: [{ role: "system", content: "Be brief." }, ...HI] });
  assert.equal(answer.choices[0].message.content.trim(), FOX);
  assert.deepEqual([answer.object, answer.model, answer.choices[0].finish_reason], ["chat.completion", models.text, "stop"]);
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.ok(prompt_tokens > 0 && completion_tokens > 0);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

test("chat streams, with usage in the last chunk", async () => {
  const chunks = await all(await chat({ stream: true, stream_options: { include_usage: true }, max_tokens: 3 }));
  assert.equal(textOf(chunks), " The quick brown");
  assert.equal(chunks.filter((chunk) => chunk.choices.length).at(-1).choices[0].finish_reason, "length");
  assert.equal(chunks.at(-1).usage.completion_tokens, 3);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  assert.ok(chunks.every((chunk) => chunk.object === "chat.completion.chunk"));
});

test("settings end an answer", async () => {
  const answer = await chat({ stop: [" fox"], temperature: 0, top_p: 0.9, seed: 7, frequency_penalty: 0, presence_penalty: 0 });
  assert.deepEqual([answer.choices[0].message.content, answer.choices[0].finish_reason], [" The quick brown", "stop"]);
});

test("tools there and back; one of several is called", async () => {
  const tools = [WEATHER, CLOCK];
  const first = await chat({ model: models.tools, messages: [QUESTION], tools });
  const { message, finish_reason } = first.choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.tool_calls.length, 1);
  const [call] = message.tool_calls;
  assert.deepEqual([call.type, call.function.name, JSON.parse(call.function.arguments)], ["function", "get_weather", { city: "Paris" }]);
  const result = { role: "tool", tool_call_id: call.id, content: "sunny" };
  const second = await chat({ model: models.tools, messages: [QUESTION, message, result] });
  assert.ok(second.choices[0].message.content);
  assert.equal(second.choices[0].finish_reason, "stop");
});

test("streamed calls are put together", async () => {
  const stream = client.chat.completions.stream({ model: models.tools, messages: [QUESTION], tools: [WEATHER] });
  const { choices: [choice] } = await stream.finalChatCompletion();
  assert.equal(choice.finish_reason, "tool_calls");
  assert.deepEqual(choice.message.tool_calls.map((call) => JSON.parse(call.function.arguments)), [{ city: "Paris" }]);
});

test("the client's own loop over tools: called, run, answered", async () => {
  const asked = [];
  const run = ({ city }) => asked.push(city) && `sunny in ${city}`;
  const runner = client.chat.completions.runTools(
    { model: models.tools, messages: [QUESTION], tools: [{ type: "function", function: { ...WEATHER.function, parse: JSON.parse, function: run } }] },
    { maxChatCompletions: 2 },
  );
  await runner.done();
  assert.deepEqual(asked.slice(0, 1), ["Paris"]);
  assert.equal(runner.messages.find((message) => message.role === "tool").content, "sunny in Paris");
});

test("thoughts are in reasoning, apart from the text", async () => {
  const on = (await chat({ model: models.thinking, reasoning_effort: "medium" })).choices[0].message;
  assert.deepEqual([on.reasoning, on.content], [THOUGHT, ANSWER]);
  const chunks = await all(await chat({ model: models.thinking, reasoning_effort: "medium", stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.reasoning ?? "").join(""), THOUGHT);
  assert.equal(textOf(chunks), ANSWER);
  const off = (await chat({ model: models.thinking, reasoning_effort: "none" })).choices[0].message;
  assert.equal(off.reasoning, undefined);
});

test("formats: a schema parsed by the client, a schema, any JSON", async () => {
  const parsed = await client.chat.completions.parse({
    model: models.text, messages: HI, response_format: zodResponseFormat(z.object({ answer: z.number().int() }), "answer"),
  });
  assert.ok(Number.isInteger(parsed.choices[0].message.parsed.answer));
  for (const response_format of [{ type: "json_schema", json_schema: { name: "answer", schema: SCHEMA } }, { type: "json_object" }]) {
    const answer = await chat({ response_format });
    assert.ok(Number.isInteger(JSON.parse(answer.choices[0].message.content).answer));
  }
});

test("a picture goes to the model that sees", async () => {
  const url = `data:image/png;base64,${PIXEL_BASE64}`;
  const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url } }];
  const answer = await chat({ model: models.vision, messages: [{ role: "user", content }] });
  assert.equal(answer.choices[0].message.content, "a cat");
});

test("log probabilities", async () => {
  const answer = await chat({ logprobs: true, top_logprobs: 2, max_tokens: 2 });
  const entries = answer.choices[0].logprobs.content;
  assert.deepEqual(entries.map((entry) => entry.token), [" The", " quick"]);
  assert.ok(entries.every((entry) => entry.top_logprobs.length === 2));
});

test("completions, whole and streamed", async () => {
  const body = { model: models.text, prompt: "The sky", max_tokens: 2 };
  assert.equal((await client.completions.create(body)).choices[0].text, " The quick");
  const parts = await all(await client.completions.create({ ...body, stream: true }));
  assert.equal(parts.map((part) => part.choices[0]?.text ?? "").join(""), " The quick");
});

test("embeddings, as base64 and as numbers", async () => {
  const coded = await client.embeddings.create({ model: models.embedding, input: ["hello", "world"] }); // asks for base64
  const plain = await client.embeddings.create({ model: models.embedding, input: "hello", encoding_format: "float" });
  assert.deepEqual(coded.data.map((entry) => [entry.index, entry.embedding.length]), [[0, 384], [1, 384]]);
  assert.ok(Math.abs(length(plain.data[0].embedding) - 1) < 1e-5);
  plain.data[0].embedding.forEach((number, at) => assert.ok(Math.abs(number - coded.data[0].embedding[at]) < 1e-6));
  assert.ok(plain.usage.prompt_tokens > 0);
});

test("responses, whole, streamed and with tools", async () => {
  const whole = await client.responses.create({ model: models.text, instructions: "Be brief.", input: "hi" });
  assert.deepEqual([whole.output_text.trim(), whole.status], [FOX, "completed"]);
  assert.ok(whole.usage.output_tokens > 0);
  const stream = client.responses.stream({ model: models.text, input: "hi" });
  const kinds = (await all(stream)).map((event) => event.type);
  assert.deepEqual([kinds[0], kinds.at(-1)], ["response.created", "response.completed"]);
  assert.ok(kinds.filter((kind) => kind === "response.output_text.delta").length > 3);
  assert.equal((await stream.finalResponse()).output_text.trim(), FOX);
  const tools = [{ type: "function", ...WEATHER.function, strict: false }];
  const called = await client.responses.create({ model: models.tools, input: [QUESTION], tools });
  const call = called.output.find((item) => item.type === "function_call");
  assert.deepEqual([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Paris" }]);
  const result = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
  const answered = await client.responses.create({ model: models.tools, input: [QUESTION, ...called.output, result] });
  assert.ok(answered.output_text);
});

test("models", async () => {
  const names = (await all(client.models.list())).map((model) => model.id);
  for (const name of [models.text, models.vision]) assert.ok(names.includes(name), name);
  assert.equal((await client.models.retrieve(models.text)).id, models.text);
});

test("a stream that is aborted ends, and the next request is answered", async () => {
  const stream = await chat({ model: models.slow, stream: true });
  let seen = 0;
  for await (const _ of stream) if (++seen === 2) stream.controller.abort();
  assert.ok(seen < 8, `${seen} chunks`);
  const late = new AbortController();
  late.abort();
  await assert.rejects(chat({}, { signal: late.signal }), OpenAI.APIUserAbortError);
  assert.equal((await chat({})).choices[0].message.content.trim(), FOX);
});

test("errors are OpenAI's", async () => {
  for (const call of [chat({ model: "no-such-model" }), chat({ model: "no-such-model", stream: true })]) {
    const error = await call.then(() => assert.fail("answered"), (reason) => reason);
    assert.ok(error instanceof OpenAI.NotFoundError, String(error));
    assert.equal(error.error.message, "model 'no-such-model' not found");
    assert.equal(error.type, "not_found_error");
  }
  await assert.rejects(chat({ messages: [] }), OpenAI.BadRequestError);
  await assert.rejects(client.embeddings.create({ model: "no-such-model", input: "hi" }), OpenAI.NotFoundError);
  await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
});
