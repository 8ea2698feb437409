// `@anthropic-ai/sdk`, on /v1/messages.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { FOX, models, url, weatherSchema } from "./models.mjs";

const client = new Anthropic({ baseURL: url, apiKey: "ollama", maxRetries: 0 });
const hi = [{ role: "user", content: "hi" }];
const paris = [{ role: "user", content: "How is the weather in Paris?" }];
const tools = [{ name: "get_weather", description: "The weather of a city", input_schema: weatherSchema }];

test("a message", async () => {
  const answer = await client.messages.create({ model: models.text, max_tokens: 100, messages: hi, system: "Be brief." });
  assert.equal(answer.content[0].text.trim(), FOX);
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
  assert.equal((await client.messages.create({ model: models.text, max_tokens: 2, messages: hi })).stop_reason, "max_tokens");
});

test("a stream", async () => {
  const stream = client.messages.stream({ model: models.text, max_tokens: 100, messages: hi });
  const pieces = [];
  stream.on("text", (piece) => pieces.push(piece));
  const final = await stream.finalMessage();
  assert.ok(pieces.length > 3);
  assert.equal(pieces.join("").trim(), FOX);
  assert.equal(final.content[0].text.trim(), FOX);
});

test("tools there and back", async () => {
  const first = await client.messages.create({ model: models.tools, max_tokens: 100, messages: paris, tools });
  assert.equal(first.stop_reason, "tool_use");
  const use = first.content.find((block) => block.type === "tool_use");
  assert.deepEqual([use.name, use.input], ["get_weather", { city: "Paris" }]);
  const second = await client.messages.create({
    model: models.tools, max_tokens: 100,
    messages: [
      ...paris,
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "sunny" }] },
    ],
  });
  assert.ok(second.content[0].text);
});

test("a streamed call", async () => {
  const final = await client.messages.stream({ model: models.tools, max_tokens: 100, messages: paris, tools }).finalMessage();
  assert.deepEqual(final.content.filter((block) => block.type === "tool_use").map((block) => block.input), [{ city: "Paris" }]);
});

test("thinking, whole and streamed", async () => {
  const body = { model: models.thinking, max_tokens: 2000, messages: hi, thinking: { type: "enabled", budget_tokens: 1024 } };
  for (const answer of [await client.messages.create(body), await client.messages.stream(body).finalMessage()]) {
    assert.deepEqual(answer.content.map((block) => block.type), ["thinking", "text"]);
    assert.equal(answer.content[0].thinking, "Let me ponder");
    assert.equal(answer.content[1].text, "Answer is ready!");
  }
});

test("a stream can be left in the middle", async () => {
  const stream = await client.messages.create({ model: models.text, max_tokens: 100, messages: hi, stream: true });
  for await (const _ of stream) break;
  assert.ok((await client.messages.create({ model: models.text, max_tokens: 2, messages: hi })).content.length);
});

test("errors are Anthropic's", async () => {
  await assert.rejects(client.messages.create({ model: "no-such-model", max_tokens: 10, messages: hi }), (error) => {
    assert.ok(error instanceof Anthropic.NotFoundError);
    assert.equal(error.error.error.type, "not_found_error");
    return true;
  });
});
