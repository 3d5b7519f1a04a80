from close import largest_deviation


def pytest_terminal_summary(terminalreporter):
    for file, deviation in sorted(largest_deviation.items()):
        terminalreporter.write_line(f"golden {file}: largest deviation {deviation:.1e}")
