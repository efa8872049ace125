"""Tests in a flow document: their model and their reader."""

from flowrunner.language.flow_tests.document import FoundFault
from flowrunner.language.flow_tests.flow_test import (
    ANY,
    Expectation,
    ExpectedError,
    ExpectedLog,
    FlowTest,
    GivenApproval,
    GivenSignal,
    Mock,
    MockedAnswer,
    MockedError,
    NodePath,
    dotted_path,
)
from flowrunner.language.flow_tests.reading import EXPECT_KEYS, NOT_STARTED, TEST_KEYS, read_mocks, read_tests

__all__ = [
    "ANY",
    "EXPECT_KEYS",
    "NOT_STARTED",
    "TEST_KEYS",
    "Expectation",
    "ExpectedError",
    "ExpectedLog",
    "FlowTest",
    "FoundFault",
    "GivenApproval",
    "GivenSignal",
    "Mock",
    "MockedAnswer",
    "MockedError",
    "NodePath",
    "dotted_path",
    "read_mocks",
    "read_tests",
]
