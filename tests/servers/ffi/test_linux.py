"""Layouts as include/uapi/linux/io_uring.h has them, by a C compiler where there is one."""

import ctypes
import shutil
import subprocess

import pytest

from servers.ffi import linux

STRUCTURES = [
    (linux.SqringOffsets, "io_sqring_offsets", 40),
    (linux.CqringOffsets, "io_cqring_offsets", 40),
    (linux.Params, "io_uring_params", 120),
    (linux.ProbeOp, "io_uring_probe_op", 8),
    (linux.BufReg, "io_uring_buf_reg", 40),
    (linux.Timespec, "__kernel_timespec", 16),
]
# Older and newer headers have other names for what lies there: room that wasn't used.
RENAMED = {"resv", "resv1", "resv2", "user_addr"}
RENAMED_IN = {("io_uring_buf_reg", "flags")}
PACKED = {
    "io_uring_sqe": (
        linux.SQE,
        ["opcode", "flags", "ioprio", "fd", "off", "addr", "len", "msg_flags", "user_data"],
    ),
    "io_uring_cqe": (linux.CQE, ["user_data", "res", "flags"]),
    "io_uring_buf": (linux.BUF, ["addr", "len", "bid", "resv"]),
}
CONSTANTS = {
    "IORING_OP_POLL_ADD": linux.Op.POLL_ADD,
    "IORING_OP_TIMEOUT": linux.Op.TIMEOUT,
    "IORING_OP_ACCEPT": linux.Op.ACCEPT,
    "IORING_OP_ASYNC_CANCEL": linux.Op.ASYNC_CANCEL,
    "IORING_OP_SEND": linux.Op.SEND,
    "IORING_OP_RECV": linux.Op.RECV,
    "IORING_SETUP_SQPOLL": linux.Setup.SQPOLL,
    "IORING_SETUP_CQSIZE": linux.Setup.CQSIZE,
    "IORING_SETUP_SINGLE_ISSUER": linux.Setup.SINGLE_ISSUER,
    "IORING_SETUP_DEFER_TASKRUN": linux.Setup.DEFER_TASKRUN,
    "IORING_OFF_SQES": linux.IORING_OFF_SQES,
    "IORING_ENTER_GETEVENTS": linux.IORING_ENTER_GETEVENTS,
    "IORING_ENTER_SQ_WAKEUP": linux.IORING_ENTER_SQ_WAKEUP,
    "IORING_REGISTER_PBUF_RING": linux.IORING_REGISTER_PBUF_RING,
    "IORING_ACCEPT_MULTISHOT": linux.IORING_ACCEPT_MULTISHOT,
    "IORING_RECV_MULTISHOT": linux.IORING_RECV_MULTISHOT,
    "IORING_CQE_F_MORE": linux.IORING_CQE_F_MORE,
    "IORING_CQE_BUFFER_SHIFT": linux.IORING_CQE_BUFFER_SHIFT,
    "IOSQE_BUFFER_SELECT": linux.IOSQE_BUFFER_SELECT,
    "__NR_io_uring_setup": linux.SYS_IO_URING_SETUP,
    "__NR_io_uring_enter": linux.SYS_IO_URING_ENTER,
    "__NR_io_uring_register": linux.SYS_IO_URING_REGISTER,
}
if linux.SYS_EPOLL_PWAIT is not None:
    CONSTANTS["__NR_epoll_pwait"] = linux.SYS_EPOLL_PWAIT


@pytest.mark.parametrize(("structure", "name", "size"), STRUCTURES)
def test_structures_have_their_sizes(structure, name, size):
    assert ctypes.sizeof(structure) == size


def test_entries_have_their_sizes():
    assert (linux.SQE.size, linux.CQE.size, linux.BUF_BYTES) == (64, 16, 16)
    assert linux.BUF.size == linux.BUF_TAIL_OFFSET


@pytest.mark.linux("the header is Linux's")
def test_all_are_as_the_header_has_them(tmp_path, needs):
    """Sizes, offsets, constants: printed by a C program."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    needs("a C compiler", compiler is not None, "apt-get install gcc")
    offsets = [
        (name, field[0])
        for structure, name, _ in STRUCTURES
        for field in structure._fields_
        if field[0] not in RENAMED and (name, field[0]) not in RENAMED_IN
    ]
    offsets += [(name, field) for name, (_, fields) in PACKED.items() for field in fields]
    lines = [f'printf("%zu\\n", offsetof(struct {name}, {field}));' for name, field in offsets]
    lines += [f'printf("%zu\\n", sizeof(struct {name}));' for _, name, _ in STRUCTURES]
    lines += [f'printf("%zu\\n", (size_t)({name}));' for name in CONSTANTS]
    source = tmp_path / "layout.c"
    includes = ["stddef.h", "stdio.h", "sys/syscall.h", "linux/io_uring.h", "linux/time_types.h"]
    text = "".join(f"#include <{name}>\n" for name in includes)
    source.write_text(text + "int main(void) {" + "\n".join(lines) + "return 0; }")
    program = tmp_path / "layout"
    subprocess.run([compiler, source, "-o", program], check=True)
    said = [int(line) for line in subprocess.check_output([program], text=True).split()]
    structures = {name: structure for structure, name, _ in STRUCTURES}
    ours = [
        getattr(structures[name], field).offset if name in structures else _packed_offset(name, field)
        for name, field in offsets
    ]
    ours += [size for _, _, size in STRUCTURES]
    ours += [int(value) for value in CONSTANTS.values()]
    assert said == ours


def _packed_offset(name, field):
    packed, fields = PACKED[name]
    codes = packed.format.lstrip("<")[: fields.index(field)]
    return sum({"B": 1, "H": 2, "i": 4, "I": 4, "Q": 8}[code] for code in codes)
