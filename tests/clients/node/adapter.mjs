// What every suite knows: where the adapter is, its models, and what they say.

const named = (variable) => {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set: run these suites with pytest tests/clients/test_node_clients.py`);
  return value;
};

export const url = named("LLM_ADAPTER_URL");

export const models = {
  text: named("LLM_MODEL_PLAIN"),
  tools: named("LLM_MODEL_TOOLS"), // calls get_weather({city: "Paris"}) whenever it may
  thinking: named("LLM_MODEL_THINK"), // thinks "Let me ponder", then says "Answer is ready!"
  embedding: named("LLM_MODEL_EMBED"), // 384 dimensions
  slow: named("LLM_MODEL_SLOW"), // says what the text model says, half a second long
  vision: named("LLM_MODEL_VISION"), // passed on to the Ollama behind the adapter
};

export const FOX = "The quick brown fox jumps over the lazy dog.";
export const THOUGHT = "Let me ponder";
export const ANSWER = "Answer is ready!";
export const HI = [{ role: "user", content: "hi" }];
export const QUESTION = { role: "user", content: "How is the weather in Paris?" };
export const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
export const SCHEMA = { type: "object", properties: { answer: { type: "integer" } }, required: ["answer"] };
export const WEATHER = {
  type: "function",
  function: { name: "get_weather", description: "The weather of a city", parameters: CITY },
};
export const CLOCK = {
  type: "function",
  function: { name: "get_time", description: "The time in a city", parameters: CITY },
};

const signature = Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
export const PIXEL = Uint8Array.from([...signature, ...new Uint8Array(64)]);
export const PIXEL_BASE64 = Buffer.from(PIXEL).toString("base64");

/** Everything that an asynchronous iterator gives. */
export async function all(iterator) {
  const parts = [];
  for await (const part of iterator) parts.push(part);
  return parts;
}

/** The Euclidean length of a vector. */
export const length = (vector) => Math.hypot(...vector);
