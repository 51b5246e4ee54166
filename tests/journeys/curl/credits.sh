curl https://api.find-token.com/v1/user/credits \
  -H "Authorization: Bearer sk-ft_your-key-here" \
  -H "Content-Type: application/json" \
  -d '{
    "amount": 20.00,
    "success_url": "https://www.find-token.com/my/dashboard",
    "cancel_url": "https://www.find-token.com/my/pricing"
  }'
