// `@anthropic-ai/sdk`, on /v1/messages.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { all, ANSWER, CITY, FOX, HI, models, PIXEL_BASE64, QUESTION, THOUGHT, url } from "./adapter.mjs";

const client = new Anthropic({ baseURL: url, apiKey: "ollama", maxRetries: 0 });
const base = { model: models.text, max_tokens: 100, messages: HI };
const tools = [
  { name: "get_weather", description: "The weather of a city", input_schema: CITY },
  { name: "get_time", description: "The time in a city", input_schema: CITY },
];
const asking = { ...base, model: models.tools, messages: [QUESTION], tools };
const thinking = { ...base, model: models.thinking, max_tokens: 2000, thinking: { type: "enabled", budget_tokens: 1024 } };

test("a message: text, reason, usage", async () => {
  const answer = await client.messages.create({ ...base, system: "Be brief.", temperature: 0, top_p: 0.9, top_k: 20 });
  assert.deepEqual([answer.type, answer.role, answer.model, answer.stop_reason], ["message", "assistant", models.text, "end_turn"]);
  assert.equal(answer.content[0].text.trim(), FOX);
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
  assert.equal((await client.messages.create({ ...base, max_tokens: 2 })).stop_reason, "max_tokens");
  const stopped = await client.messages.create({ ...base, stop_sequences: [" fox"] });
  assert.equal(stopped.content[0].text, " The quick brown");
});

test("a stream of events in Anthropic's order", async () => {
  const events = await all(await client.messages.create({ ...base, stream: true }));
  const kinds = events.map((event) => event.type).filter((kind) => kind !== "ping");
  assert.deepEqual(kinds.slice(0, 2), ["message_start", "content_block_start"]);
  assert.deepEqual(kinds.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
  assert.ok(kinds.slice(2, -3).every((kind) => kind === "content_block_delta"));
  assert.ok(kinds.length > 8);
});

test("the client's own stream", async () => {
  const stream = client.messages.stream(base);
  const pieces = [];
  stream.on("text", (piece) => pieces.push(piece));
  const final = await stream.finalMessage();
  assert.equal(pieces.join(""), final.content[0].text);
  assert.equal(final.content[0].text.trim(), FOX);
  assert.ok(final.usage.output_tokens > 0);
});

test("tools there and back; one of several is called", async () => {
  const first = await client.messages.create(asking);
  assert.equal(first.stop_reason, "tool_use");
  const uses = first.content.filter((block) => block.type === "tool_use");
  assert.deepEqual(uses.map(({ name, input }) => ({ name, input })), [{ name: "get_weather", input: { city: "Paris" } }]);
  const result = { role: "user", content: [{ type: "tool_result", tool_use_id: uses[0].id, content: "sunny" }] };
  const second = await client.messages.create({
    ...base, model: models.tools, messages: [QUESTION, { role: "assistant", content: first.content }, result],
  });
  assert.ok(second.content[0].text);
  assert.equal(second.stop_reason, "end_turn");
});

test("a streamed call is put together", async () => {
  const final = await client.messages.stream(asking).finalMessage();
  const uses = final.content.filter((block) => block.type === "tool_use");
  assert.deepEqual(uses.map((block) => block.input), [{ city: "Paris" }]);
});

test("thinking, whole and streamed, and none when it is off", async () => {
  const whole = await client.messages.create(thinking);
  assert.deepEqual(whole.content.map((block) => block.thinking ?? block.text), [THOUGHT, ANSWER]);
  const streamed = await client.messages.stream(thinking).finalMessage();
  assert.deepEqual(streamed.content.map((block) => block.type), ["thinking", "text"]);
  assert.deepEqual(streamed.content.map((block) => block.thinking ?? block.text), [THOUGHT, ANSWER]);
  const off = await client.messages.create({ ...thinking, thinking: { type: "disabled" } });
  assert.deepEqual(off.content.map((block) => block.type), ["text"]);
});

test("a picture goes to the model that sees", async () => {
  const source = { type: "base64", media_type: "image/png", data: PIXEL_BASE64 };
  const content = [{ type: "image", source }, { type: "text", text: "What is this?" }];
  const answer = await client.messages.create({ ...base, model: models.vision, messages: [{ role: "user", content }] });
  assert.equal(answer.content[0].text, "a cat");
});

test("tokens cannot be counted: Ollama has no such route either", async () => {
  await assert.rejects(client.messages.countTokens({ model: models.text, messages: HI }), Anthropic.NotFoundError);
});

test("a stream that is aborted ends with the client's error, and the next request is answered", async () => {
  const stream = client.messages.stream({ ...base, model: models.slow });
  stream.on("text", () => stream.abort());
  await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
  assert.equal((await client.messages.create(base)).content[0].text.trim(), FOX);
});

test("errors are Anthropic's", async () => {
  for (const stream of [false, true]) {
    const error = await client.messages.create({ ...base, model: "no-such-model", stream }).then(() => assert.fail("answered"), (reason) => reason);
    assert.ok(error instanceof Anthropic.NotFoundError, String(error));
    assert.equal(error.error.error.type, "not_found_error");
    assert.match(error.error.error.message, /model 'no-such-model' not found/);
  }
  await assert.rejects(client.messages.create({ ...base, messages: [] }), Anthropic.BadRequestError);
});
