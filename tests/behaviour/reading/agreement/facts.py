# What lldb knows of dumps, as one line of JSON each behind the word FACTS. EFFIGY_DUMPS holds their paths, a line each.
import json
import os

import lldb


def general(frame):
    groups = [group for group in frame.GetRegisters() if "General" in (group.GetName() or "")]
    return {register.GetName(): register.GetValue() for group in groups for register in group}


def thread(thread):
    frame = thread.GetFrameAtIndex(0)
    return {
        "tid": thread.GetThreadID(),
        "name": thread.GetName(),
        "pc": frame.GetPC(),
        "sp": frame.GetSP(),
        "registers": general(frame),
    }


def module(module, target):
    base = module.GetObjectFileHeaderAddress().GetLoadAddress(target)
    return {"base": base, "uuid": module.GetUUIDString()}


def facts(debugger, path):
    target = debugger.CreateTarget("")
    error = lldb.SBError()
    process = target.LoadCore(path, error)
    found = {"opened": error.Success() and process.IsValid()}
    if found["opened"]:
        found["pid"] = process.GetProcessID()
        found["triple"] = target.GetTriple()
        found["threads"] = [thread(each) for each in process]
        found["modules"] = [module(each, target) for each in target.modules]
    debugger.DeleteTarget(target)
    return found


debugger = lldb.SBDebugger.Create()
debugger.SetAsync(False)
for path in os.environ["EFFIGY_DUMPS"].splitlines():
    print("FACTS " + json.dumps(facts(debugger, path)))
