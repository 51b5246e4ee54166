curl https://api.find-token.com/v1/user/byok/keys \
  -H "Authorization: Bearer sk-ft_your-findtoken-key"
