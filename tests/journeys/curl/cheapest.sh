curl https://api.find-token.com/v1/chat/completions \
  -H "Authorization: Bearer sk-ft_your-key-here" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "deepseek-chat",
    "messages": [{"role": "user", "content": "Hello!"}],
    "routing": "cheapest"
  }'
