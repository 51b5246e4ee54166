// The guide's streamed sample. It leaves out the client, which is the one of the plain sample.
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "https://api.find-token.com/v1",
  apiKey: "sk-ft_your-key-here",
});

const response = await client.chat.completions.create({
  model: "deepseek-chat",
  messages: [{ role: "user", content: "Write a short poem." }],
  stream: true,
});

for await (const chunk of response) {
  process.stdout.write(chunk.choices[0]?.delta?.content || "");
}
