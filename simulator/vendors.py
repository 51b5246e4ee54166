"""The providers the simulator plays, by the name in their address."""

from simulator.deepseek import DeepSeek
from simulator.kimi import Kimi
from simulator.minimax import MiniMax
from simulator.qwen import Qwen
from simulator.shape import Shape
from simulator.stepfun import StepFun
from simulator.zhipu import Zhipu

SHAPES: dict[str, Shape] = {
    shape.name: shape for shape in (DeepSeek(), Zhipu(), MiniMax(), Qwen(), Kimi(), StepFun(), Shape())
}
"""One shape per provider; shapes keep no state, so one of each is enough."""
