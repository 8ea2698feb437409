// `@langchain/ollama`: chat model, plain model, embeddings.

import assert from "node:assert/strict";
import { test } from "node:test";
import { HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages";
import { ChatPromptTemplate } from "@langchain/core/prompts";
import { StringOutputParser } from "@langchain/core/output_parsers";
import { tool } from "@langchain/core/tools";
import { ChatOllama, Ollama, OllamaEmbeddings } from "@langchain/ollama";
import { z } from "zod";
import { all, ANSWER, FOX, length, models, PIXEL_BASE64, QUESTION, THOUGHT, url } from "./adapter.mjs";

const chat = (fields) => new ChatOllama({ model: models.text, baseUrl: url, maxRetries: 0, ...fields });
const weather = tool(({ city }) => `sunny in ${city}`, {
  name: "get_weather", description: "The weather of a city", schema: z.object({ city: z.string() }),
});
const clock = tool(() => "noon", { name: "get_time", description: "The time in a city", schema: z.object({ city: z.string() }) });

test("an answer, its usage and why it ended", async () => {
  const answer = await chat().invoke([new SystemMessage("Be brief."), new HumanMessage("hi")]);
  assert.equal(answer.text.trim(), FOX);
  const { input_tokens, output_tokens, total_tokens } = answer.usage_metadata;
  assert.ok(input_tokens > 0 && output_tokens > 0);
  assert.equal(total_tokens, input_tokens + output_tokens);
  assert.deepEqual([answer.response_metadata.done_reason, answer.response_metadata.model], ["stop", models.text]);
});

test("a stream", async () => {
  const chunks = await all(await chat().stream("hi"));
  assert.ok(chunks.length > 3);
  assert.equal(chunks.map((chunk) => chunk.text).join("").trim(), FOX);
});

test("a chain of prompt, model and parser, several at once", async () => {
  const chain = ChatPromptTemplate.fromMessages([["human", "Say {word}"]]).pipe(chat()).pipe(new StringOutputParser());
  const answers = await chain.batch([{ word: "one" }, { word: "two" }]);
  assert.deepEqual(answers.map((answer) => answer.trim()), [FOX, FOX]);
});

test("options, a stop string, a name that has no tag", async () => {
  const fields = { numPredict: 3, temperature: 0, topK: 20, topP: 0.9, seed: 7, numCtx: 1024, mirostat: 0, tfsZ: 1, keepAlive: "10m" };
  assert.equal((await chat(fields).invoke("hi")).text, " The quick brown");
  assert.equal((await chat().invoke("hi", { stop: [" fox"] })).text, " The quick brown");
  assert.ok((await chat({ model: models.tools }).invoke("hi")).text);
});

test("tools: called, run, answered", async () => {
  const bound = chat({ model: models.tools }).bindTools([weather, clock]);
  const first = await bound.invoke([QUESTION]);
  assert.deepEqual(first.tool_calls.map(({ name, args }) => ({ name, args })), [{ name: "get_weather", args: { city: "Paris" } }]);
  const result = await weather.invoke(first.tool_calls[0]);
  assert.ok(result instanceof ToolMessage);
  const second = await chat({ model: models.tools }).invoke([QUESTION, first, result]);
  assert.ok(second.text);
  const streamed = (await all(await bound.stream([QUESTION]))).reduce((sum, chunk) => sum.concat(chunk));
  assert.deepEqual(streamed.tool_calls.map((call) => call.args), [{ city: "Paris" }]);
});

test("output that keeps a schema", async () => {
  const schema = z.object({ answer: z.number().int() });
  const answer = await chat().withStructuredOutput(schema, { method: "jsonSchema" }).invoke("What is the answer?");
  assert.ok(Number.isInteger(answer.answer));
  assert.ok(Number.isInteger(JSON.parse((await chat({ format: "json" }).invoke("hi")).text).answer));
});

test("thoughts come apart from the text, and not at all when they are off", async () => {
  const on = await chat({ model: models.thinking, think: true }).invoke("hi");
  assert.deepEqual([on.additional_kwargs.reasoning_content, on.text], [THOUGHT, ANSWER]);
  const off = await chat({ model: models.thinking, think: false }).invoke("hi");
  assert.equal(off.additional_kwargs.reasoning_content, undefined);
  assert.ok(off.text);
});

test("a picture goes to the model that sees", async () => {
  const image_url = `data:image/png;base64,${PIXEL_BASE64}`;
  const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url }];
  assert.equal((await chat({ model: models.vision }).invoke([new HumanMessage({ content })])).text, "a cat");
});

test("the plain model, whole and streamed", async () => {
  const model = new Ollama({ model: models.text, baseUrl: url, maxRetries: 0 });
  assert.equal((await model.invoke("The sky")).trim(), FOX);
  assert.equal((await all(await model.stream("The sky"))).join("").trim(), FOX);
});

test("embeddings of a query and of documents", async () => {
  const embeddings = new OllamaEmbeddings({ model: models.embedding, baseUrl: url, truncate: true, maxRetries: 0 });
  const query = await embeddings.embedQuery("hello");
  const documents = await embeddings.embedDocuments(["hello", "world"]);
  assert.deepEqual([query.length, ...documents.map((vector) => vector.length)], [384, 384, 384]);
  assert.ok(Math.abs(length(query) - 1) < 1e-5);
  assert.ok(query.every((number, at) => Math.abs(number - documents[0][at]) < 1e-6));
});

test("a model that is there is not pulled again; one that is not is said to be missing", async () => {
  assert.equal((await chat({ checkOrPullModel: true }).invoke("hi")).text.trim(), FOX);
  await assert.rejects(chat({ model: "no-such-model" }).invoke("hi"), /model 'no-such-model' not found/);
});

test("a stream that is aborted ends, and the next request is answered", async () => {
  const abort = new AbortController();
  let seen = 0;
  await assert.rejects(
    (async () => {
      for await (const _ of await chat({ model: models.slow }).stream("hi", { signal: abort.signal })) if (++seen === 2) abort.abort();
    })(),
    /abort/i,
  );
  assert.ok(seen < 8, `${seen} chunks`);
  assert.equal((await chat().invoke("hi")).text.trim(), FOX);
});
