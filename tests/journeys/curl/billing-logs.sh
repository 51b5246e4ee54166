curl https://api.find-token.com/v1/user/billing-logs \
  -H "Authorization: Bearer sk-ft_your-key-here"
