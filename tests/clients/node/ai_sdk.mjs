// Vercel's AI SDK: text, streams, tools with zod, objects, embeddings. Prints a JSON object: name of the case, result.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateObject, generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { each } from './each.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const [baseURL, chat, embed] = process.argv.slice(2);
const compatible = { name: 'ours', baseURL, apiKey: 'unused', includeUsage: true };
const provider = createOpenAICompatible(compatible);
const binding = createOpenAICompatible({ ...compatible, supportsStructuredOutputs: true });
const ask = { model: provider(chat), prompt: 'What is the weather in Paris?', temperature: 0, maxOutputTokens: 60, maxRetries: 0 };

const place = z.object({ city: z.enum(['Paris', 'Rome']), days: z.int().min(1).max(3) });
const seen = [];
const weather = tool({
  description: 'Look up the weather',
  inputSchema: place,
  execute: async (input) => { seen.push(input); return { sunny: true }; },
});

function must(truth, what) {
  if (!truth) throw new Error(`expected ${what}`);
}

await each({
  generateText: async () => {
    const { text, usage } = await generateText({ ...ask, maxOutputTokens: 8 });
    must(text && usage.inputTokens > 0 && usage.outputTokens > 0, 'text and usage');
    return text;
  },

  streamText: async () => {
    let text = '';
    const stream = streamText({ ...ask, maxOutputTokens: 8, onError: ({ error }) => { throw error; } });
    for await (const piece of stream.textStream) text += piece;
    must(text && (await stream.usage).outputTokens > 0, 'text and usage');
    return text;
  },

  'a tool that may be called': async () => {
    const input = z.object({ n: z.int(), id: z.uuid(), day: z.iso.date(), mail: z.email() });
    const { finishReason } = await generateText({ ...ask, maxOutputTokens: 8, tools: { f: tool({ inputSchema: input }) } });
    return finishReason;
  },

  'two steps: a call, and an answer to its result': async () => {
    const { steps, text } = await generateText({
      ...ask,
      tools: { weather },
      stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
    });
    must(steps.length === 2 && seen.length >= 1 && text, 'a call and an answer');
    return { seen, text };
  },

  'a call in a stream': async () => {
    const stream = streamText({ ...ask, tools: { weather }, toolChoice: { type: 'tool', toolName: 'weather' }, onError: ({ error }) => { throw error; } });
    const calls = await stream.toolCalls;
    must(calls.length >= 1, 'a call');
    return calls.map((call) => place.parse(call.input));
  },

  'generateObject by a schema': async () => {
    const schema = z.object({ day: z.iso.date(), id: z.uuid(), n: z.int32() });
    const { object } = await generateObject({ ...ask, maxOutputTokens: 120, model: binding(chat), schema });
    return schema.parse(object);
  },

  'Output.object by a schema': async () => {
    const { output } = await generateText({ ...ask, model: binding(chat), output: Output.object({ schema: place }) });
    return place.parse(output);
  },

  embedMany: async () => {
    const { embeddings } = await embedMany({ model: provider.embeddingModel(embed), values: ['a', 'b'], maxRetries: 0 });
    must(embeddings.length === 2 && embeddings[0].length > 0, 'two vectors');
    return embeddings.map((vector) => vector.length);
  },
});
