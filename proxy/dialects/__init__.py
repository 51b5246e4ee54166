"""The dialects of callers: routes of other APIs, each translated to chat completions and back."""
