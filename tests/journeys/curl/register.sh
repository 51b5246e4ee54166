curl https://api.find-token.com/v1/user/byok/register \
  -H "Authorization: Bearer sk-ft_your-findtoken-key" \
  -H "Content-Type: application/json" \
  -d '{
    "provider": "deepseek",
    "api_key": "sk-your-deepseek-api-key",
    "name": "My DeepSeek Account"
  }'
