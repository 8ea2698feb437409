// What every suite knows: where the adapter is, and its models.
export const url = process.env.LLM_ADAPTER_URL;

export const models = {
  text: "llama2:7b",
  tools: "tinytool", // calls get_weather({city: "Paris"}) whenever it may
  thinking: "tinythink", // thinks "Let me ponder", then says "Answer is ready!"
  embedding: "tinyembed", // 384 dimensions
  vision: "llava:7b", // passed on to the stand-in for Ollama Vision
};

export const FOX = "The quick brown fox jumps over the lazy dog.";

export const weatherSchema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
};

export const length = (vector) => Math.hypot(...vector);
