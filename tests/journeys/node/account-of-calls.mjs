// Makes the calls of its first argument and prints, as JSON, how each went in the client's own terms.
//
// A call is {key, body}, or {list: true} for the models. What it came to is {text, model, mode, chunks} or, when the client
// threw, {thrown: [names of the error's classes], status, code, text}.
import OpenAI from "openai";

const HOW_TO_NAME = [
  "APIError", "APIConnectionError", "AuthenticationError", "NotFoundError", "BadRequestError", "RateLimitError",
];

async function follow({ key, body, list }) {
  const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: key, maxRetries: 0 });
  if (list) {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    return { models };
  }
  let text = "";
  let chunks = 0;
  try {
    const { data, response } = await client.chat.completions.create(body).withResponse();
    const mode = response.headers.get("x-findtoken-mode");
    if (!body.stream) {
      return { text: data.choices[0].message.content, model: data.model, mode, chunks };
    }
    let model = null;
    for await (const chunk of data) {
      chunks += 1;
      model = chunk.model;
      text += chunk.choices[0].delta.content || "";
    }
    return { text, model, mode, chunks };
  } catch (error) {
    const thrown = HOW_TO_NAME.filter((name) => error instanceof OpenAI[name]);
    return { thrown, status: error.status ?? null, code: error.code ?? null, text };
  }
}

const outcomes = [];
for (const call of JSON.parse(process.argv[2])) outcomes.push(await follow(call));
console.log(JSON.stringify(outcomes));
