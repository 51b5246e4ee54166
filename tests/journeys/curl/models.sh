curl https://api.find-token.com/v1/models \
  -H "Authorization: Bearer sk-ft_your-key-here"
