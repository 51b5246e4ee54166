curl https://api.find-token.com/v1/user/balance \
  -H "Authorization: Bearer sk-ft_your-key-here"
