"""`fpemu.cuda` without a GPU: messages, layout checks, products, recordings and ``verify --gpu`` on a device
that only plays one (`fake_gpu`)."""

from __future__ import annotations

import dataclasses
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_cupy import fake_cupy
from fake_gpu import NAMES, FakeGPU, coarser, places

import fpemu as fp
from fpemu import cuda, doctor
from fpemu.cli.main import main
from fpemu.cuda import devices
from fpemu.cuda.kernels import kernel, kernels
from fpemu.cuda.products import checked, layout_is_right
from fpemu.errors import ArgumentError, MissingExtraError, UnsupportedError
from fpemu.matrix_units import MatrixUnit
from fpemu.verify import gpu

HERE = Path(__file__).parent


def of(unit: str, *formats: str):
    return MatrixUnit.parse(unit).on(*formats)


def matrices(f: str, m: int, k: int, n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    a, b, c = (fp.array(rng.normal(size=s), f) for s in ((m, k), (k, n), (m, n)))
    return a, b, c


# -- Without CuPy, without a GPU ----------------------------------------------------------------


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert not cuda.is_available()
    with pytest.raises(MissingExtraError, match=r"pip install 'fpemu\[cuda\]'"):
        cuda.matmul([[1.0]], [[1.0]], accumulate="h100 mma")


@pytest.mark.parametrize(
    ("options", "number", "said"),
    [
        ({"count": -1}, None, "cudaErrorNoDevice.*needs an NVIDIA GPU and its driver"),
        ({"count": 0}, None, "no GPU number 0; CUDA sees 0"),
        ({"count": 1}, 1, "no GPU number 1; CUDA sees 1: 0 to 0"),
        ({"hip": True}, None, "ROCm"),
    ],
)
def test_without_a_gpu(monkeypatch, options, number, said):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(**options))
    with pytest.raises(UnsupportedError, match=said):
        cuda.device(number)
    if number is None:
        assert not cuda.is_available()


def test_a_cupy_that_does_not_load(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    (tmp_path / "cupy.py").write_text("raise ImportError('libcuda.so.1: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnsupportedError, match="cannot be imported: libcuda"):
        cuda.device()


def test_chips_by_capability():
    for capability, name in NAMES.items():
        chip = cuda.chip_of({"name": name, "compute capability": capability})
        assert chip == devices.CHIPS[capability]
    assert cuda.chip_of({"name": "NVIDIA GH200 480GB", "compute capability": "9.0"}) == "h200"
    with pytest.raises(UnsupportedError, match=r"6\.1.*Titan.*knows v100 \(7\.0\)"):
        cuda.chip_of({"name": "Titan X", "compute capability": "6.1"})


def test_a_gpu_is_driven_as_cupy_wants(monkeypatch):
    """`GPU` on a CuPy that plays one: arguments of the launch, options of the compiler, facts."""
    given = fake_cupy(capability="9.0", gpu=FakeGPU("9.0"))
    monkeypatch.setitem(sys.modules, "cupy", given)
    found = cuda.device()
    assert cuda.device() is found  # with the kernels that it has compiled
    assert cuda.is_available()
    assert found.facts["name"] == "NVIDIA H100 80GB HBM3"
    assert found.facts["CUDA of the driver"] == "12.8"
    assert found.facts["NVRTC"] == "12.9"
    a, b, _ = matrices("fp16", 70, 40, 70)
    for unit in ("h100 wgmma", "h100 mma"):
        got = cuda.matmul(a, b, accumulate=unit, device=found)
        assert np.array_equal(got.codes, fp.matmul(a, b, accumulate=unit).codes)
    options = given.cuda.nvrtc.compiled
    assert options == [("--gpu-architecture=sm_90a",), ("--gpu-architecture=sm_90",)]
    x = fp.array([[1.0]], "e5m2")
    with pytest.raises(UnsupportedError, match=r"does not compile .*e5m2.* error: no such type"):
        cuda.matmul(x, x, accumulate="h100 mma", device=found)


# -- Kernels and their layouts ----------------------------------------------------------------------


@pytest.mark.parametrize("capability", NAMES)
def test_every_kernel_multiplies_integers(capability):
    gpu = FakeGPU(capability)
    own = kernels(cuda.chip_of(gpu.facts))
    assert own
    for each in own:
        assert layout_is_right(gpu, each), each.name


def test_a_wrong_layout_is_told_from_wrong_numbers():
    """A device that takes two registers of A for each other."""

    def exchanged(kernel, part):
        found = list(places(kernel, part))
        if part == "a":
            found[:32], found[32:64] = found[32:64], found[:32]
        return found

    gpu = FakeGPU("8.0", read=exchanged)
    with pytest.raises(UnsupportedError, match=r"layout of the kernel mma_m16n8k16.* is wrong"):
        cuda.matmul([[np.float16(1)]], [[np.float16(1)]], device=gpu)


@pytest.mark.parametrize(("capability", "unit"), [("9.0", "h100 wgmma"), ("10.0", "b200 tcgen05")])
def test_the_second_reading_of_descriptors(capability, unit):
    made = of(unit, "fp16")
    assert checked(FakeGPU(capability), kernel(made)).swapped is False
    gpu = FakeGPU(capability, swapped=True)
    assert not layout_is_right(gpu, kernel(made))
    chosen = checked(gpu, kernel(made))
    assert chosen.swapped
    assert chosen.name.endswith("_swapped")
    a, b, _ = matrices("fp16", 3, 50, 3)
    got = cuda.matmul(a, b, accumulate=unit, device=gpu)
    assert np.array_equal(got.codes, fp.matmul(a, b, accumulate=unit).codes)


@pytest.mark.parametrize(
    ("unit", "formats", "api", "said"),
    [
        ("b200 tcgen05", ["e2m1"], None, "no kernel for b200 tcgen05 .*of tcgen05 it has fp16"),
        ("b200 tcgen05 accumulator=fp16", ["fp16"], None, "with FP32 accumulators"),
        ("mi300 mfma", ["fp16"], None, "no kernels for AMD"),
        ("h100 mma", ["fp16"], "wgmma", "not reached through wgmma"),
        ("h100 wgmma", ["fp16"], "wmma", "not reached through wmma"),
        ("h100 mma", ["e4m3"], "wmma", "wmma does not reach"),
        ("h100 mma", ["tf32"], "wmma", "tf32 in m16n8k4"),
        ("h100 mma promote=128", ["fp16"], None, "loops of libraries"),
    ],
)
def test_what_has_no_kernel(unit, formats, api, said):
    with pytest.raises(UnsupportedError, match=said):
        kernel(of(unit, *formats), api)


def test_unknown_api():
    with pytest.raises(ArgumentError, match="did you mean 'wmma'"):
        kernel(of("h100 mma", "fp16"), "wmmma")


# -- Products -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "unit", "a", "b"),
    [
        ("7.0", "v100 mma", "fp16", "fp16"),
        ("8.0", "a100 mma accumulator=fp16", "fp16", "fp16"),
        ("8.0", "a100 mma", "fp64", "fp64"),
        ("8.9", "ada mma", "e4m3", "e5m2"),
        ("9.0", "h100 wgmma", "tf32", "tf32"),
        ("9.0", "h200 mma", "bf16", "bf16"),
        ("10.0", "b200 tcgen05", "e5m2", "e4m3"),
        ("12.0", "rtx50 mma", "e2m1", "e3m2"),
    ],
)
def test_matmul_is_the_call_of_the_emulation(capability, unit, a, b):
    rng = np.random.default_rng(1)
    left, right = (
        fp.array(rng.normal(size=(2, 1, 5, 37)), a),
        fp.array(rng.normal(size=(3, 37, 9)), b),
    )
    gpu = FakeGPU(capability)
    got = cuda.matmul(left, right, accumulate=unit, device=gpu)
    want = fp.matmul(left, right, accumulate=unit)
    assert got.format == want.format
    assert got.shape == want.shape == (2, 3, 5, 9)
    assert np.array_equal(got.codes, want.codes)
    c = fp.array(rng.normal(size=want.shape), want.format)
    got = cuda.matmul(left, right, c, accumulate=unit, out="bf16", device=gpu)
    assert got.format == fp.BF16
    assert np.array_equal(got.codes, fp.matmul(left, right, c, accumulate=unit, out="bf16").codes)


def test_vectors_and_nothing():
    gpu = FakeGPU("9.0")
    a, b, _ = matrices("fp16", 4, 30, 1)
    got = cuda.matmul(a, b[:, 0], device=gpu)
    assert np.array_equal(got.codes, fp.matmul(a, b[:, 0], accumulate="h100 mma").codes)
    empty = cuda.matmul(a[:, :0], b[:0], device=gpu)
    assert empty.tolist() == [[0.0]] * 4


def test_wmma_of_tf32_takes_steps_of_four():
    """Machine code: wmma m16n16k8 is two HMMA.1684, so on Hopper it differs from mma m16n8k8."""
    gpu = FakeGPU("9.0")
    a = fp.array([[2.0**14, -(2.0**14), *[2.0**-9] * 6]], "tf32")
    b = fp.array([[1.0, 1.0, *[2.0**-9] * 6]], "tf32").T
    with pytest.raises(UnsupportedError, match="m16n8k4"):
        cuda.matmul(a, b, library="wmma", device=gpu)
    unit = "h100 mma shape=m16n8k4"
    assert cuda.matmul(a, b, accumulate=unit, library="wmma", device=gpu)[0, 0] == 2.0**-16
    assert cuda.matmul(a, b, accumulate="h100 mma", device=gpu)[0, 0] == 0


def test_what_matmul_refuses():
    gpu = FakeGPU("9.0")
    a, b, c = matrices("fp16", 2, 16, 2)
    for options, error, said in [
        ({"accumulate": "a100 mma"}, UnsupportedError, "not to be had on NVIDIA H100"),
        ({"accumulate": "fp32"}, ArgumentError, "accumulates in a matrix unit"),
        ({"accumulate": fp.FP32}, ArgumentError, "accumulates in a matrix unit"),
        ({"library": "cutlass"}, ArgumentError, "unknown library 'cutlass'"),
        ({"library": "cublas"}, UnsupportedError, "has no cuBLAS"),
        ({"c": c[0]}, ArgumentError, "result's shape"),
    ]:
        with pytest.raises(error, match=said):
            cuda.matmul(a, b, **{"device": gpu, **options})
    x = fp.array([[1.0]], "e4m3")
    with pytest.raises(UnsupportedError, match="cublasGemmEx does not multiply e4m3"):
        cuda.matmul(x, x, library="cublas", device=gpu)


# -- Recordings ---------------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path):
    """A recording of three products by a device that computes as the emulation does."""
    rng = np.random.default_rng(2)
    a, b, c = (
        fp.array(rng.normal(size=(3, *s)), f)
        for s, f in (((5, 40), "bf16"), ((40, 7), "bf16"), ((5, 7), "fp32"))
    )
    return cuda.record(
        tmp_path / "made", a, b, c, accumulate="h100 wgmma", device=FakeGPU("9.0"), note="a test"
    )


def test_a_recording_replays(recording):
    assert recording.name == "made.npz"
    assert [path.name for path in recording.parent.iterdir()] == ["made.npz"]
    found = cuda.replay(recording)
    assert (found.samples, found.mismatches, found.first) == (3 * 5 * 7, 0, "")
    about = cuda.read(recording).about
    assert about["device"]["name"] == "NVIDIA H100 80GB HBM3"
    assert about["unit"] == "h100 wgmma accumulator=fp32 shape=m64nNk16"
    assert about["note"] == "a test"


def rewritten(path: Path, **changes) -> Path:
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    np.savez(path, **arrays)
    return path


def test_a_planted_bit_is_found(recording):
    def flipped(d):
        d[1, 2, 3] ^= 1
        return d

    found = cuda.replay(rewritten(recording, d=flipped))
    assert found.mismatches == 1
    assert found.first.startswith("1: a=[")
    expected, got = (int(word, 16) for word in found.first[-26:].replace(",", "").split()[-3::2])
    assert expected ^ got == 1


def test_a_chip_that_keeps_less_is_found(tmp_path):
    a, b, _ = matrices("fp16", 20, 64, 20)
    path = cuda.record(tmp_path / "x.npz", a, b, device=FakeGPU("8.0", coarser))
    assert 0 < cuda.replay(path).mismatches <= 400


def test_signs_of_zero_and_payloads_of_nan(tmp_path):
    """-0 for +0 is a mismatch; another NaN is none."""
    gpu = FakeGPU("8.0")
    x = fp.array([[0.0, np.nan]], "fp16")
    path = cuda.record(tmp_path / "x", x.T, x, device=gpu)
    assert cuda.replay(path).mismatches == 0

    def zero(d):
        d[0, 0] = 0x80000000
        return d

    def payload(d):
        d[1, 1] = 0xFFC12345
        return d

    assert cuda.replay(rewritten(path, d=payload)).mismatches == 0
    assert cuda.replay(rewritten(path, d=zero)).mismatches == 1


@pytest.mark.parametrize(
    "change",
    [
        {"d": lambda d: d[:, :, :3]},
        {"d": lambda d: d.astype(float)},
        {"a": lambda a: a.astype(np.uint32) + (1 << 16)},
        {"about": lambda t: np.frombuffer(b"{}", np.uint8)},
        {"about": lambda t: np.frombuffer(b"[1", np.uint8)},
        {"about": lambda t: np.frombuffer(t.tobytes().replace(b"wgmma", b"vgmma"), np.uint8)},
        {
            "about": lambda t: np.frombuffer(
                t.tobytes().replace(b"recording 1", b"recording 9"), np.uint8
            )
        },
        {"a": lambda a: np.array([{}], object)},
    ],
)
def test_recordings_that_do_not_fit(recording, change):
    with pytest.raises(ArgumentError, match=r"no recording of fpemu\.cuda, or damaged"):
        cuda.replay(rewritten(recording, **change))


def test_damaged_recordings(recording):
    whole = recording.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        recording.write_bytes(whole[:size])
        with pytest.raises(ArgumentError, match="damaged"):
            cuda.read(recording)
    with zipfile.ZipFile(recording.with_name("other.npz"), "w") as other:
        other.writestr("x", "y")
    with pytest.raises(ArgumentError, match="damaged"):
        cuda.read(recording.with_name("other.npz"))
    recording.write_bytes(whole)
    middle = bytearray(whole)
    middle[len(whole) // 3] ^= 0xFF
    recording.write_bytes(bytes(middle))
    with pytest.raises(ArgumentError, match="damaged"):
        cuda.read(recording)
    with pytest.raises(FileNotFoundError):
        cuda.read(recording.with_name("nowhere.npz"))


def test_nothing_is_left_of_a_recording_that_fails(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "no space left")

    monkeypatch.setattr(np, "savez_compressed", full)
    a, b, _ = matrices("fp16", 2, 16, 2)
    with pytest.raises(OSError, match="no space"):
        cuda.record(tmp_path / "x", a, b, device=FakeGPU("8.0"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArgumentError, match="record without c"):
        cuda.record(tmp_path / "x", a, b, b[:2], library="cublas", device=FakeGPU("8.0"))
    with pytest.raises(ArgumentError, match="takes matrices"):
        cuda.record(tmp_path / "x", a[0], b, device=FakeGPU("8.0"))


def test_recordings_of_real_chips():
    """Whatever lies in tests/recordings came from hardware, and the emulation gives the same bits."""
    for path in sorted((HERE / "recordings").glob("*.npz")):
        found = cuda.replay(path)
        assert found.samples
        assert found.mismatches == 0, f"{path.name}: {found.first}"


# -- fpemu verify --gpu ---------------------------------------------------------------------------------


def few(monkeypatch, *names: str):
    """Let verify know the kernels of these names only."""
    chosen = [k for k in kernels("v100") + kernels("ada") + kernels("h100") if k.name in names]
    monkeypatch.setattr(
        gpu, "kernels", lambda chip: [k for k in chosen if k.instruction.chip == chip]
    )


def test_verify_on_a_chip_that_agrees(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cuda, "device", lambda: FakeGPU("7.0"))
    assert main(["verify", "--gpu", "--record", str(tmp_path / "new")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kernel", "instruction", "probes", "samples", "NaN", "mismatches"]
    assert len(lines) == 2 + 4
    for line in lines[2:]:
        *_, probes, samples, nan, mismatches = line.split()
        assert nan in ("7fc00000", "7e00")  # the emulation's own; chips are said to give all ones
        assert (int(probes) > 0, int(samples) > 10_000, mismatches) == (True, True, "0")
    files = sorted((tmp_path / "new").glob("*.npz"))
    assert len(files) == 4
    assert max(path.stat().st_size for path in files) < 60_000
    for path in files:
        found = cuda.replay(path)
        assert found.samples == 7 * 16 * 16
        assert found.mismatches == 0


def test_verify_on_a_chip_that_does_not(monkeypatch, capsys):
    few(monkeypatch, "mma_m16n8k32_f32_e4m3_e4m3")
    monkeypatch.setattr(cuda, "device", lambda: FakeGPU("8.9", coarser))
    assert main(["verify", "--gpu", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["device"]["name"] == "NVIDIA L4"
    (row,) = said["kernels"]
    assert row["mismatches"] > 0
    assert row["first"].startswith("probe ")
    assert "expected" in row["first"]


def test_probes_of_raw_registers(monkeypatch, capsys):
    """A chip that rounds TF32 instead of cutting its registers off."""

    class Rounding(FakeGPU):
        def run(self, kernel, a, b, c):
            return super().run(kernel, *(x + np.uint32(0x1000) for x in (a, b)), c)

    few(monkeypatch, "wgmma_m64n64k8_f32_tf32_tf32")
    for device, status in ((FakeGPU("9.0"), 0), (Rounding("9.0"), 1)):
        monkeypatch.setattr(cuda, "device", lambda device=device: device)
        assert main(["verify", "--gpu"]) == status
        said = capsys.readouterr().out
    assert "probe 'last 13 bits are ignored': a=3f801fff b=3f800000 expected 3f800000, got" in said


def test_verify_where_a_layout_is_wrong(monkeypatch, capsys):
    few(monkeypatch, "wgmma_m64n64k16_f32_f16_f16")
    backwards = FakeGPU(
        "9.0", read=lambda kernel, part: places(kernel, part)[:: -1 if part == "b" else 1]
    )
    monkeypatch.setattr(cuda, "device", lambda: backwards)
    assert main(["verify", "--gpu"]) == 1
    said = capsys.readouterr().out
    assert "refused" in said
    assert "layout of the kernel wgmma_m64n64k16_f32_f16_f16 is wrong" in said


def test_verify_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["verify", "--gpu"]) == 2
    assert "fpemu.cuda needs CuPy" in capsys.readouterr().err
    assert main(["verify", "--record", "somewhere"]) == 2
    assert "--record goes with --gpu" in capsys.readouterr().err


def test_every_kernel_of_hopper_has_probes_where_they_are_published():
    by_name = {k.name: len(gpu.probes_of(k)) for k in kernels("h100")}
    for name in (
        *("mma_m16n8k16_f32_f16_f16", "wmma_m16n16k16_f32_f16_f16", "wgmma_m64n64k16_f32_f16_f16"),
        *("wgmma_m64n64k32_f32_e4m3_e4m3", "mma_m16n8k32_f32_e4m3_e4m3"),
        *("wgmma_m64n64k16_f16_f16_f16", "mma_m16n8k16_f32_bf16_bf16"),
    ):
        assert by_name[name] > 5, name
    assert {k.name: len(gpu.probes_of(k)) for k in kernels("h200")} == by_name


def test_h200_is_compared_as_itself():
    assert {k.instruction.chip for k in kernels("h200")} == {"h200"}
    numbers = [
        {dataclasses.replace(k.instruction, chip="") for k in kernels(chip)}
        for chip in ("h100", "h200")
    ]
    assert numbers[0] == numbers[1]


def test_a_folder_that_cannot_be_made(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cuda, "device", lambda: FakeGPU("7.0"))
    assert main(["verify", "--gpu", "--record", str(tmp_path / "file" / "x")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


def test_doctor_says_what_gpu_there_is(monkeypatch):
    def said() -> tuple[str, str]:
        (found,) = doctor.gpu()
        return found.status, found.found

    monkeypatch.setitem(sys.modules, "cupy", None)
    assert said() == ("fine", "not looked for: CuPy is not installed, and only fpemu.cuda needs it")
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count=-1))
    status, found = said()
    assert (status, "finds no usable GPU" in found) == ("note", True)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(capability="8.9"))
    assert said()[1].startswith("fpemu's ada: name NVIDIA L4; compute capability 8.9; driver ")
