curl https://api.find-token.com/v1/user/recharges \
  -H "Authorization: Bearer sk-ft_your-key-here"
