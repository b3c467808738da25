"""What Windows says about the machine, as far as it can be read on any system."""

import pytest

from bench.host import windows
from bench.host.environment import environment, system


@pytest.mark.parametrize(
    ("vendor", "product", "name"),
    [
        ("Microsoft Corporation", "Virtual Machine", "Hyper-V"),
        ("Microsoft Corporation", "Surface Laptop 5", None),
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "QEMU"),
        ("VMware, Inc.", "VMware7,1", "VMware"),
        ("innotek GmbH", "VirtualBox", "VirtualBox"),
        ("Amazon EC2", "m5.large", "Amazon EC2"),
        ("LENOVO", "20XW004MGE", None),
        ("", "", None),
    ],
)
def test_virtual_machines_are_known_by_their_firmware(vendor: str, product: str, name: str | None) -> None:
    assert windows.virtual_machine(vendor, product) == name


def test_windows_11_is_known_by_its_build() -> None:
    assert windows.product_name("Windows 10 Pro", "23H2", 22631) == "Windows 11 Pro 23H2"
    assert windows.product_name("Windows 10 Pro", "22H2", 19045) == "Windows 10 Pro 22H2"
    assert (
        windows.product_name("Windows Server 2022 Datacenter", "", 20348) == "Windows Server 2022 Datacenter"
    )


def test_ports_are_read_in_any_language() -> None:
    english = (
        "\r\nProtocol tcp Dynamic Port Range\r\n---\r\nStart Port      : 49152\r\nNumber of Ports : 16384\r\n"
    )
    german = "Dynamischer Portbereich\nStartport     : 10000\nAnzahl von Ports : 55536\n"
    assert windows.parse_ports(english) == 16384
    assert windows.parse_ports(german) == 55536
    assert windows.parse_ports("netsh: unknown command") is None


@pytest.mark.windows("asks it")
def test_the_environment_is_that_of_windows() -> None:
    found = environment()
    assert found["system"] == system()
    assert str(found["kernel"]).count(".") == 2
    assert found["cpu"]["model"]
    assert "Windows" in str(found["distribution"])
    assert (found["virtual"] == "Wine") == (found["wine"] is not None) == (system() == "windows-wine")
    assert windows.dynamic_ports() > 255
