"""Read the results of the tests, and fail where one of them ran nowhere: neither here nor under Wine."""

import sys
from xml.etree import ElementTree


def main() -> None:
    """Check the JUnit file named on the command line, against the number of tests that were collected."""
    results, collected = ElementTree.parse(sys.argv[1]), int(sys.argv[2])
    cases = list(results.iter("testcase"))
    properties = [element for element in results.iter("property") if element.get("name") == "ran_under_wine"]
    under_wine = {element.get("value", "") for element in properties}
    skipped = [case for case in cases if case.find("skipped") is not None]
    nowhere = [case for case in skipped if not ran(case, under_wine)]
    for case in nowhere:
        reason = case.find("skipped").get("message")
        print(f"ran nowhere: {case.get('classname')}::{case.get('name')}: {reason}")
    print(f"{len(cases) - len(skipped)} of {collected} tests ran on Linux, {len(under_wine)} under Wine")
    assert not nowhere
    assert len(cases) >= collected
    assert under_wine


def ran(case: ElementTree.Element, names: set[str]) -> bool:
    """Whether `case` is among `names`. A file that is skipped as a whole has its module as its name."""
    module, name = case.get("classname"), case.get("name")
    return f"{module}::{name}" in names or (
        not module and any(other.startswith((f"{name}.", f"{name}::")) for other in names)
    )


if __name__ == "__main__":
    main()
