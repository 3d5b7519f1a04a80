import pytest
import torch

import sadpm.networks.execution as execution_module
from sadpm.networks.execution import Executed, allow_tf32, as_torch_does
from sadpm.networks.predictor import Predictor
from sadpm.networks.section import PLAIN, Execution
from sadpm.networks.unet import UNet
from sadpm.running.distributed import Group
from sadpm.running.graphs import WARM_UP, Replayed

CPU = torch.device("cpu")


@pytest.fixture
def anything(monkeypatch):
    """A device that computes in every precision."""
    monkeypatch.setattr(execution_module, "missing_precision", lambda precision, device: None)


@pytest.fixture
def unet():
    torch.manual_seed(0)
    options = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "in_channels": 1}
    return UNet(sample_size=8, dropout=0.2, **options)


class Pretender:
    """Records work as a list of what was asked of it, and replays it by doing it."""

    def __init__(self):
        self.asked = []

    def run(self, work, inputs):
        self.asked.append("run")
        return work(*inputs)

    def record(self, work, inputs):
        self.asked.append("record")
        kept = [torch.empty_like(tensor) for tensor in work(*inputs)]

        def replay():
            self.asked.append("replay")
            for place, value in zip(kept, work(*inputs), strict=True):
                place.copy_(value)

        return replay, kept


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_the_cpu_computes_in_float32_and_says_so(precision, capsys):
    executed = Executed(PLAIN, precision, CPU)
    assert executed.precision == "float32"
    reason = "on cpu, everything is computed in float32"
    assert executed.report()["not_used"] == {"precision": f"{precision}: {reason}"}
    told = f"execution.precision: {precision} is not used, float32 is: {reason}\n"
    assert capsys.readouterr().err == told
    assert executed.inputs() == {"precision": "float32"}


def test_what_is_the_default_is_not_told(capsys):
    executed = Executed(PLAIN, "float32", CPU)
    assert executed.report(trained=True) == {"precision": "float32", **PLAIN.model_dump()}
    assert executed.report() == {"precision": "float32", "compile": "off", "cuda_graphs": False}
    assert executed.inputs() == {}
    assert capsys.readouterr().err == ""


@pytest.fixture
def _products():
    """What GPUs may round, put back afterwards: torch's switches are no attributes that pytest can patch."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("_products")
def test_convolutions_alone_may_round_and_features_are_looked_at_as_torch_does():
    gpu = torch.device("cuda")
    allow_tf32(CPU, False)
    assert torch.backends.cuda.matmul.allow_tf32  # which is not this device's
    for allowed in (True, False):
        allow_tf32(gpu, allowed)
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (allowed, False)
    with as_torch_does(gpu):
        assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_graphs_are_for_a_gpu_and_one_process(capsys):
    asked = Execution(cuda_graphs=True, activation_checkpointing=True)
    for device, group, dropout, reason in (
        (CPU, Group(), 0.0, "there are none on cpu"),
        (torch.device("meta"), Group(), 0.0, "there are none on meta"),
    ):
        executed = Executed(asked, "float32", device, group, dropout)
        assert executed.report()["not_used"] == {"cuda_graphs": f"True: {reason}"}
        assert not executed.graphs
    Executed(asked, "float32", CPU, Group(1, 2))
    assert capsys.readouterr().err.count("\n") == 2  # the second process of a group is silent


def test_the_network_alone_computes_in_bfloat16(unet, anything):
    executed = Executed(PLAIN, "bfloat16", CPU)
    seen = []
    unet.conv_in.register_forward_hook(lambda *arguments: seen.append(arguments[-1].dtype))
    x = torch.randn(2, 1, 8, 8)
    noise = executed.training(unet, (2, 1, 8, 8))(x, torch.tensor([3, 4]))
    noise.square().sum().backward()
    outputs = executed.seeing(unet.eval(), 2)(x, torch.tensor([3.0]))
    assert seen == [torch.bfloat16] * 2
    assert {tensor.dtype for tensor in (noise, *outputs)} == {torch.float32}
    assert {tensor.dtype for tensor in (p.grad for p in unet.parameters())} == {torch.float32}
    exact = unet(x, torch.tensor([3.0]))
    assert 0 < (outputs[0] - exact).abs().max() < 0.1 * exact.abs().max()


def test_activation_checkpointing_changes_no_bit(unet):
    x, t, results = torch.randn(2, 1, 8, 8), torch.tensor([3, 4]), []
    for checkpointing in (False, True):
        executed = Executed(Execution(activation_checkpointing=checkpointing), "float32", CPU)
        network, calls = executed.training(unet, (2, 1, 8, 8)), []
        handle = unet.mid_block.resnets[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(1)
        unet.zero_grad()
        noise = network(x, t)
        noise.square().sum().backward()
        handle.remove()
        results.append([noise.detach(), *(parameter.grad for parameter in unet.parameters())])
        assert len(calls) == (2 if checkpointing else 1)
    assert all(map(torch.equal, *results))


def compiled_by(monkeypatch, compiler):
    asked = []

    def compile(function, mode, dynamic):
        asked.append(mode)
        return compiler(function)

    monkeypatch.setattr(torch, "compile", compile)
    return asked


def test_what_compiles_is_used(unet, monkeypatch):
    asked = compiled_by(monkeypatch, lambda function: lambda *inputs: tuple(2 * part for part in function(*inputs)))
    executed = Executed(Execution(compile="max-autotune"), "float32", CPU)
    x = torch.randn(2, 1, 8, 8)
    seen = executed.seeing(unet.eval(), 2)(x, torch.tensor([3.0]))
    assert torch.equal(seen[0], 2 * unet(x, 3.0))
    assert asked == ["max-autotune-no-cudagraphs"]
    assert executed.report()["compile"] == "max-autotune"


@pytest.mark.parametrize("fails", ["at once", "in the backward pass"])
def test_what_does_not_compile_is_run_as_it_is(unet, monkeypatch, capsys, fails):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.clone()

        @staticmethod
        def backward(_, gradient):
            raise RuntimeError("no compiler\nbut much text")

    def compiler(function):
        if fails == "at once":
            raise RuntimeError("no compiler\nbut much text")
        return lambda *inputs: Broken.apply(function(*inputs))

    compiled_by(monkeypatch, compiler)
    executed = Executed(Execution(compile="default"), "float32", CPU)
    network = executed.training(unet, (2, 1, 8, 8))
    network(torch.randn(2, 1, 8, 8), torch.tensor([3, 4])).sum().backward()
    told = "default: RuntimeError: no compiler"
    assert executed.report()["not_used"] == {"compile": told}
    assert executed.report()["compile"] == "off"
    assert capsys.readouterr().err == "execution.compile: default is not used, off is: RuntimeError: no compiler\n"


def test_a_rehearsal_leaves_no_gradients(unet, monkeypatch):
    compiled_by(monkeypatch, lambda function: function)
    Executed(Execution(compile="default"), "float32", CPU).training(unet, (2, 1, 8, 8))
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_work_is_recorded_after_a_warm_up_for_each_shape_and_done_once_a_call():
    done, recorder = [], Pretender()
    work = Replayed(lambda x, y: (done.append(1), (x + y,))[1], recorder, done.append)
    for number in range(WARM_UP + 2):
        (total,) = work(torch.full((2,), float(number)), torch.ones(2))
        assert torch.equal(total, torch.full((2,), number + 1.0))
    assert recorder.asked == ["run"] * WARM_UP + ["record", "replay", "replay"]
    for others in ((torch.zeros(3), torch.ones(3)), (torch.zeros(2, dtype=torch.int64), torch.ones(2))):
        work(*others)
        assert recorder.asked[-1] == "run"


def test_where_nothing_can_be_recorded_the_work_is_done_and_the_reason_told():
    class Refuses(Pretender):
        def record(self, work, inputs):
            try:
                raise RuntimeError("operation not permitted\nwhen stream is capturing")
            finally:
                raise RuntimeError("the capture has failed before")  # as ending it does

    told, done = [], []
    work = Replayed(lambda x: done.append(x.item()), Refuses(), told.append)
    for number in range(WARM_UP + 3):
        work(torch.tensor(float(number)))
    assert done == [float(number) for number in range(WARM_UP + 3)]
    assert told == ["operation not permitted"]


def test_predictions_outlive_the_next_replay(unet, monkeypatch):
    monkeypatch.setattr(Executed, "_no_graphs", lambda self, dropout: None)
    monkeypatch.setattr(execution_module, "recorder", Pretender)
    executed, plain = Executed(Execution(cuda_graphs=True), "float32", CPU), Predictor(unet.eval())
    predict = Predictor(unet, see=executed.seeing(unet, 2))
    states, levels = [torch.randn(2, 1, 8, 8) for _ in range(6)], range(40, 46)
    with torch.inference_mode():
        found = [predict(x, t).noise for x, t in zip(states, levels, strict=True)]
        expected = [plain(x, t).noise for x, t in zip(states, levels, strict=True)]
    assert all(map(torch.equal, found, expected))


def test_gradients_of_what_is_seen_pass_compiled_networks_and_are_not_recorded(unet, monkeypatch, capsys):
    monkeypatch.setattr(Executed, "_no_graphs", lambda self, dropout: None)
    monkeypatch.setattr(execution_module, "recorder", Pretender)
    rehearsed = []

    def compiler(function):
        return lambda x, t: (rehearsed.append((x.requires_grad, t.shape)), function(x, t))[1]

    compiled_by(monkeypatch, compiler)
    executed = Executed(Execution(compile="default", cuda_graphs=True), "float32", CPU)
    see = executed.seeing(unet.eval().requires_grad_(False), 2, torch.enable_grad, gradients=True, times=2)
    assert rehearsed == [(True, (2,))]
    assert executed.report()["not_used"] == {"cuda_graphs": "True: gradients are taken of what the network sees"}
    assert capsys.readouterr().err.count("\n") == 1
    x, t = torch.randn(2, 1, 8, 8, requires_grad=True), torch.tensor([3.0, 4.0])
    found, expected = (torch.autograd.grad(function(x, t)[0].sum(), x)[0] for function in (see, unet.see))
    assert torch.equal(found, expected)
