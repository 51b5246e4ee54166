// The guide's plain sample, as it stands there.
// npm install openai
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "https://api.find-token.com/v1",
  apiKey: "sk-ft_your-key-here",
});

// Non-streaming request
const response = await client.chat.completions.create({
  model: "deepseek-chat",
  messages: [
    { role: "system", content: "You are a helpful assistant." },
    { role: "user", content: "What is the capital of France?" },
  ],
});

console.log(response.choices[0].message.content);
console.log(`Tokens used: ${response.usage.total_tokens}`);
