"""Zhipu's shape: numbered errors, the role in every delta, usage on the finish chunk, tool calls in one piece.

Source: bigmodel.cn's error table and SDK (zai-sdk 0.2.3), 2026, and observed streams.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from simulator.answer import Answer, ToolCall
from simulator.embedding_request import EmbeddingRequest
from simulator.facts import EmbeddingModel, Model
from simulator.frames import CREATED_MARK, ID_MARK, hex_id
from simulator.refusal import Refusal
from simulator.request import ChatRequest, Fields
from simulator.settings import Settings
from simulator.shape import Shape

_ROLES = ("system", "user", "assistant", "tool")

_CODES = {
    "1000": (401, "身份验证失败"),
    "1001": (401, "Header 中未收到 Authentication 参数，无法进行身份验证"),
    "1002": (401, "Authentication Token 非法，请确认 Authentication Token 正确传递"),
    "1003": (401, "Authentication Token 已过期，请重新生成/获取"),
    "1004": (401, "通过提供的 Authentication Token 的验证失败"),
    "1005": (401, "已开启二次认证保护"),
    "1110": (429, "您的账户当前处于非活动状态。请检查账户信息"),
    "1111": (429, "您的账户不存在"),
    "1112": (429, "您的账户已被锁定，请联系客服解锁"),
    "1113": (429, "您的账户已欠费，请充值后重试"),
    "1120": (500, "无法成功访问您的账户，请稍后重试"),
    "1121": (429, "账户存在违规行为，账号已被锁定"),
    "1200": (500, "API 调用失败"),
    "1210": (400, "API 调用参数有误，请检查文档"),
    "1211": (400, "模型不存在，请检查模型代码"),
    "1212": (400, "当前模型不支持该方法调用方式"),
    "1213": (400, "未正常接收到 messages 参数"),
    "1214": (400, "messages 参数非法。请检查文档"),
    "1215": (400, "temperature 与 do_sample 不能同时设置，请检查文档"),
    "1220": (403, "您无权访问"),
    "1221": (400, "API 已下线"),
    "1222": (400, "API 不存在"),
    "1230": (500, "API 调用流程出错"),
    "1231": (400, "您已有请求：{request_id}"),
    "1234": (500, "网络错误，错误id：@simulated-id@，请稍后重试"),
    "1261": (400, "Prompt 超长"),
    "1300": (400, "API 调用被策略阻止"),
    "1301": (400, "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合"),
    "1302": (429, "您的账户已达到速率限制，请您控制请求频率"),
    "1303": (429, "您当前使用该 API 的频率过高，请降低频率，或联系客服增加限额"),
    "1304": (429, "该 API 已达当日调用次数限额"),
    "1305": (429, "该模型当前访问量过大，请您稍后再试"),
    "1308": (429, "已达到 5 小时的使用上限。您的限额将在 2026-11-22 00:00:00 重置"),
    "1309": (429, "您的 GLM Coding Plan 套餐已到期"),
    "1310": (429, "已达到每周使用上限。您的限额将在 2026-11-29 00:00:00 重置"),
    "1311": (429, "当前套餐暂未开放该模型权限"),
    "1312": (429, "该模型当前访问量过大，请您稍后再试"),
    "1313": (429, "您的使用触发了公平使用策略"),
}
_NAMES = {
    "bad_request": "1210",
    "no_key": "1001",
    "no_balance": "1113",
    "permission": "1220",
    "model_not_found": "1211",
    "context_length": "1261",
    "content_filter": "1301",
    "rate_limited": "1302",
    "overloaded": "1305",
    "quota_exhausted": "1308",
    "server_error": "1234",
}
_BY_CODE = {code: Refusal(status, message, code=code) for code, (status, message) in _CODES.items()}


class Zhipu(Shape):
    """Zhipu (BigModel). It reads `max_tokens` only, and knows no `n`."""

    name = "zhipu"
    key_pattern = re.compile(r"sim[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+")
    limit_fields = ("max_tokens",)
    most_choices = 1
    knows_base64 = False
    knows_any_model = False
    tells_logprobs = False
    unfinished: ClassVar[Fields] = {}
    every_delta: ClassVar[Fields] = {"role": "assistant"}
    finish_delta: ClassVar[Fields] = {"content": ""}
    unique_field = "request_id"
    balance_path = "api/biz/account/query-customer-account-report"
    refusals: ClassVar[Mapping[str, Refusal]] = {
        **{name: _BY_CODE[code] for name, code in _NAMES.items()},
        "bad_key": Refusal(401, "令牌已过期或验证不正确", code="401"),
        "unavailable": Refusal(503, _CODES["1234"][1], code="1234"),
    }
    refusals_by_code: ClassVar[Mapping[str, Refusal]] = _BY_CODE

    def refuse(self, request: ChatRequest, model: Model) -> Refusal | None:
        """Zhipu's own refusals: a temperature outside (0, 1], two stops, a demanded tool, a strange role, a long prompt."""
        if _samples_wrongly(request):
            return _BY_CODE["1210"]
        wrong = ""
        if any(message["role"] not in _ROLES for message in request.messages):
            wrong = "messages"
        elif len(request.stops) > 1:
            wrong = "stop"
        elif request.fields.get("tool_choice") not in (None, "auto"):
            wrong = "tool_choice"
        elif (request.whole_number("max_tokens") or 1) > model.output_tokens:
            wrong = "max_tokens"
        if wrong:
            return self.refusal_for(None, "1214", f"{wrong} 参数非法。请检查文档")
        if request.image_urls and not model.vision:
            return _BY_CODE["1210"]
        return _BY_CODE["1261"] if request.prompt_tokens > model.context_tokens else None

    def refuse_embedding(self, request: EmbeddingRequest, model: EmbeddingModel) -> Refusal | None:
        """Texts only, of the lengths that its table allows."""
        wrong = request.has_tokens or len(request.inputs) > model.most_inputs
        wrong = wrong or (request.dimensions is not None and request.dimensions not in model.dimensions)
        too_long = max(request.tokens) > model.input_tokens or 0 < model.all_tokens < sum(request.tokens)
        return _BY_CODE["1210"] if wrong or too_long else None

    def embedding_body(self, model_id: str, rows: list[Fields], tokens: int) -> Fields:
        """Usage has completion tokens, too: none."""
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        return {"model": model_id, "object": "list", "data": rows, "usage": usage}

    def error_body(self, refusal: Refusal) -> Any:
        """A number in a string, and a message; nothing else."""
        return {"error": {"code": refusal.code or "1234", "message": refusal.message}}

    def new_id(self, number: int) -> str:
        """Ids are a date and hexadecimal digits, without any prefix."""
        return f"20261121000000{hex_id(number)[:16]}"

    def headers(self, call_id: str) -> dict[str, str]:  # noqa: ARG002 - other vendors send it
        """Zhipu documents no headers of its own."""
        return {}

    def envelope(self, answer: Answer, kind: str) -> Fields:
        """The id stands twice in a plain answer; a stream names no `object`, as old models did."""
        if kind == "chat.completion":
            return {**super().envelope(answer, kind), "request_id": ID_MARK}
        return {"id": ID_MARK, "created": CREATED_MARK, "model": answer.model}

    def content_beside_tools(self) -> str:
        """A tool call comes with an empty text."""
        return ""

    def usage_places(self, request: ChatRequest) -> tuple[str, ...]:  # noqa: ARG002 - it is sent unasked
        """On the finish chunk, always."""
        return ("finish",)

    def idle_usage(self, request: ChatRequest) -> Fields:  # noqa: ARG002 - others ask
        """Other chunks do not mention usage."""
        return {}

    def opening(self, choice: Any) -> None:  # noqa: ARG002 - others look at it
        """No chunk of its own for the role: every delta repeats it."""
        return

    def tool_deltas(self, request: ChatRequest, answer: Answer, call: ToolCall, index: int) -> list[Fields]:
        """The whole call in one delta, unless `tool_stream` asks for fragments."""
        if request.fields.get("tool_stream") is True:
            return super().tool_deltas(request, answer, call, index)
        return [{"tool_calls": [{"index": index, **self.whole_call(answer, call, index)}]}]

    def balance_page(self, settings: Settings) -> Any:
        """The console's report: amounts are numbers, and success is told in the body."""
        data = {
            "availableBalance": float(settings.balance),
            "balance": float(settings.balance),
            "totalSpendAmount": 0.0,
        }
        return {"code": 200, "msg": "操作成功", "data": data, "success": True}


def _samples_wrongly(request: ChatRequest) -> bool:
    """Whether temperature or top_p is out of range; `do_sample: false` switches both off."""
    if request.fields.get("do_sample") is False:
        return False
    values = (request.fields.get("temperature"), request.fields.get("top_p"))
    return any(value is not None and not 0 < value <= 1 for value in values)
