// Vercel's AI SDK: the providers for OpenAI-compatible APIs and for Open Responses.

import assert from "node:assert/strict";
import { createOpenResponses } from "@ai-sdk/open-responses";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, streamText, tool } from "ai";

const { MAP_URL, MAP_KEY, MAP_MODEL, MAP_TWO_TOOLS } = process.env;
const compatible = createOpenAICompatible({
  name: "map",
  baseURL: MAP_URL,
  apiKey: MAP_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const responses = createOpenResponses({ name: "map", url: `${MAP_URL}/responses`, apiKey: MAP_KEY });
const models = { compatible: compatible(MAP_MODEL), responses: responses(MAP_MODEL) };
const START = "[Mock Response] ";
const schema = jsonSchema({
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
});

const checks = {
  async text(model) {
    const { text, finishReason, usage } = await generateText({ model, prompt: "Hello" });
    assert.ok(text.startsWith(START), text);
    assert.equal(finishReason, "stop");
    assert.equal(usage.totalTokens, 0);
  },
  async stream(model) {
    const { text } = await generateText({ model, prompt: "Hello" });
    const result = streamText({ model, prompt: "Hello", onError: ({ error }) => { throw error; } });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    assert.ok(pieces.length > 5);
    assert.equal(pieces.join(""), text);
    assert.equal(await result.finishReason, "stop");
    assert.equal((await result.usage).totalTokens, 0);
  },
  async toolsOfTheServer(model) {
    const { text, toolCalls } = await generateText({ model, prompt: MAP_TWO_TOOLS });
    assert.ok(text.startsWith(START), text);
    assert.deepEqual(toolCalls, []);
    const result = streamText({ model, prompt: MAP_TWO_TOOLS, onError: ({ error }) => { throw error; } });
    assert.equal(await result.text, text);
    assert.deepEqual(await result.toolCalls, []);
  },
  async messages(model) {
    const { text } = await generateText({
      model,
      system: "Be brief.",
      messages: [
        { role: "user", content: "Hi" },
        { role: "assistant", content: "Hello." },
        { role: "user", content: "Who?" },
      ],
    });
    assert.ok(text.startsWith(START), text);
  },
  async structuredOutput(model) {
    const { output } = await generateText({ model, prompt: "Oslo", output: Output.object({ schema }) });
    assert.deepEqual(output, { city: "", days: 0 });
  },
  async toolsOfTheClientAreRefused(model) {
    const weather = tool({ description: "d", inputSchema: schema, execute: () => "sunny" });
    await assert.rejects(
      generateText({ model, prompt: "Hello", tools: { weather }, maxRetries: 0 }),
      (error) => error.statusCode === 400 && /run on the server/.test(error.message),
    );
  },
};

let failures = 0;
for (const [kind, model] of Object.entries(models)) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check(model);
    } catch (error) {
      failures += 1;
      console.log(`${kind} ${name} failed:`, error);
    }
  }
}
console.log(`${2 * Object.keys(checks).length - failures} passed`);
process.exitCode = failures;
