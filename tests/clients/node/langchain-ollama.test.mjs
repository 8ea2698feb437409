// `@langchain/ollama`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOllama, Ollama, OllamaEmbeddings } from "@langchain/ollama";
import { z } from "zod";
import { FOX, models, url } from "./models.mjs";

const baseUrl = url;
const getWeather = tool(({ city }) => `sunny in ${city}`, {
  name: "get_weather", description: "The weather of a city", schema: z.object({ city: z.string() }),
});

test("text and its metadata", async () => {
  const answer = await new ChatOllama({ model: models.text, baseUrl }).invoke([new SystemMessage("Be brief."), new HumanMessage("hi")]);
  assert.equal(answer.content.trim(), FOX);
  assert.equal(answer.response_metadata.done_reason, "stop");
  assert.ok(answer.usage_metadata.input_tokens > 0 && answer.usage_metadata.output_tokens > 0);
});

test("streams of both kinds of model", async () => {
  for (const llm of [new ChatOllama({ model: models.text, baseUrl }), new Ollama({ model: models.text, baseUrl })]) {
    let text = "";
    for await (const piece of await llm.stream("hi")) text += piece.content ?? piece;
    assert.equal(text.trim(), FOX);
  }
});

test("the model can be looked for and pulled before", async () => {
  const answer = await new ChatOllama({ model: models.text, baseUrl, checkOrPullModel: true, numPredict: 2 }).invoke("hi");
  assert.equal(answer.content.trim(), "The quick");
});

test("tools there and back", async () => {
  const llm = new ChatOllama({ model: models.tools, baseUrl });
  const question = new HumanMessage("The weather in Paris?");
  const first = await llm.bindTools([getWeather]).invoke([question]);
  assert.deepEqual(first.tool_calls.map((call) => [call.name, call.args]), [["get_weather", { city: "Paris" }]]);
  const result = await getWeather.invoke(first.tool_calls[0]);
  assert.ok(result instanceof ToolMessage);
  assert.ok((await llm.invoke([question, first, result])).content);
});

test("a schema", async () => {
  const llm = new ChatOllama({ model: models.text, baseUrl });
  const schema = z.object({ answer: z.number().int() });
  const answer = await llm.withStructuredOutput(schema, { method: "jsonSchema" }).invoke("What is the answer?");
  assert.equal(typeof answer.answer, "number");
});

test("reasoning", async () => {
  const answer = await new ChatOllama({ model: models.thinking, baseUrl, think: true }).invoke("hi");
  assert.equal(answer.additional_kwargs.reasoning_content, "Let me ponder");
  assert.equal(answer.content, "Answer is ready!");
});

test("embeddings", async () => {
  const llm = new OllamaEmbeddings({ model: models.embedding, baseUrl });
  assert.equal((await llm.embedQuery("hello")).length, 384);
  assert.deepEqual((await llm.embedDocuments(["hello", "world"])).map((vector) => vector.length), [384, 384]);
});

test("a model that is not there", async () => {
  await assert.rejects(new ChatOllama({ model: "no-such-model", baseUrl, maxRetries: 0 }).invoke("hi"), /not found/);
});
