"""Counts test cases in GoogleTest XML results. Prints skipped ones by reason and one closing line.
Usage: summarize_tests.py DIR...   (folders that do not exist are passed over)"""
import collections
import pathlib
import sys
import xml.etree.ElementTree as ET

passed = failed = skipped = 0
reasons = collections.Counter()
for folder in map(pathlib.Path, sys.argv[1:]):
    for file in sorted(folder.glob("*.xml")) if folder.is_dir() else []:
        for case in ET.parse(file).getroot().iter("testcase"):
            if case.find("failure") is not None:
                failed += 1
                print(f"FAILED {folder.parent.name}: {case.get('classname')}.{case.get('name')}")
            elif case.get("result") == "skipped" or case.find("skipped") is not None:
                skipped += 1
                note = case.find("skipped")
                text = (note.get("message") if note is not None else None) or "no reason given"
                reasons[text.strip().splitlines()[-1]] += 1
            elif case.get("status") == "run":
                passed += 1
for reason, count in reasons.most_common():
    print(f"skipped {count}: {reason}")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
