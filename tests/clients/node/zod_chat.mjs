// openai-node's zod helpers: every answer is parsed by the schema that was sent. Prints a JSON object: name of the case, result.
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { each } from './each.mjs';

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0 });
const messages = [{ role: 'user', content: 'Fill in the form for Ann, born in Paris.' }];
const ask = { model, messages, temperature: 0, max_tokens: 200 };

async function form(type) {
  const schema = z.object({ a: type });
  const answer = await client.chat.completions.parse({ ...ask, response_format: zodResponseFormat(schema, 'form') });
  return schema.parse(answer.choices[0].message.parsed);
}

const city = zodFunction({
  name: 'get_weather',
  description: 'Look up the weather',
  parameters: z.object({ city: z.enum(['Paris', 'Rome']), days: z.int().min(1).max(3) }),
});

await each({
  'z.int': () => form(z.int()),
  'z.int32': () => form(z.int32()),
  'z.float32': () => form(z.float32()),
  'z.uuid': () => form(z.uuid()),
  'z.uuidv4': () => form(z.uuidv4()),
  'z.email': () => form(z.email()),
  'z.iso.date': () => form(z.iso.date()),
  'z.iso.time': () => form(z.iso.time({ precision: 0 })),
  'z.iso.datetime': () => form(z.iso.datetime({ precision: 0, offset: true })),
  'z.iso.duration': () => form(z.iso.duration()),
  'z.ipv4': () => form(z.ipv4()),
  'z.ipv6': () => form(z.ipv6()),
  'z.startsWith': () => form(z.string().startsWith('x').max(9)),
  'z.regex': () => form(z.string().regex(/^[A-Z]{3}-\d{2}$/)),
  'z.literal': () => form(z.literal('only')),
  'z.nullable': () => form(z.enum(['a', 'b']).nullable()),
  'z.array': () => form(z.array(z.enum(['a', 'b'])).max(3)),
  'z.discriminatedUnion': () =>
    form(
      z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('yes') }),
        z.object({ kind: z.literal('no'), why: z.enum(['late', 'ill']) }),
      ]),
    ),

  'a tool that may be called': async () => {
    const tools = [zodFunction({ name: 'list', parameters: z.object({ limit: z.int(), id: z.uuid(), mail: z.email() }) })];
    const answer = await client.chat.completions.create({ ...ask, max_tokens: 8, tools });
    return answer.choices[0].finish_reason;
  },

  'a tool that must be called': async () => {
    const answer = await client.chat.completions.parse({ ...ask, tools: [city], tool_choice: 'required' });
    return answer.choices[0].message.tool_calls.map((call) => call.function.parsed_arguments);
  },

  'a stream that ends with the object': async () => {
    const schema = z.object({ born: z.iso.date() });
    const stream = client.chat.completions.stream({ ...ask, response_format: zodResponseFormat(schema, 'form') });
    let pieces = 0;
    stream.on('content.delta', () => (pieces += 1));
    const answer = await stream.finalChatCompletion();
    return { pieces, ...schema.parse(answer.choices[0].message.parsed) };
  },

  'runTools calls the function and goes on': async () => {
    const seen = [];
    const runner = client.chat.completions.runTools(
      {
        ...ask,
        max_tokens: 60,
        tool_choice: { type: 'function', function: { name: 'get_weather' } },
        tools: [
          {
            type: 'function',
            function: {
              name: 'get_weather',
              parameters: { type: 'object', properties: { city: { enum: ['Paris', 'Rome'] } }, required: ['city'], additionalProperties: false },
              parse: JSON.parse,
              function: (input) => { seen.push(input); return 'sunny'; },
            },
          },
        ],
      },
      { maxChatCompletions: 2 },
    );
    await runner.done();
    return seen;
  },

  'a model that does not exist is a NotFoundError': async () => {
    const error = await client.chat.completions.create({ ...ask, model: 'no-such-model' }).catch((error) => error);
    if (!(error instanceof OpenAI.NotFoundError)) throw error;
    return error.code;
  },

  'models and embeddings': async () => {
    const ids = [];
    for await (const one of client.models.list()) ids.push(one.id);
    const { data } = await client.embeddings.create({ model: process.argv[4], input: ['a', 'b'] });
    return { ids, dimensions: data.map((one) => one.embedding.length) };
  },
});
