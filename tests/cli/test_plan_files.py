"""Plan files against docs/plan.schema.json, and automatic ones, with what they were judged by, as a user edits them."""
import copy
import json
import os
import unittest

import schema
from harness import PROJECT, CliTest

JUDGED = {"error": 0.00125, "sensitivity": 0.5, "divergence": 0.000625, "next": "q5_k", "next_bytes": 32768,
          "next_gain": 0.00045}
QUALITY = {"goal": "auto-4.2M", "estimate": 0.0123, "measured": 0.0131, "error": 0.0012,
           "data": "calibration.json, 48 records"}


class PlanFiles(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(os.path.join(PROJECT, "docs", "plan.schema.json"), encoding="utf-8") as f:
            cls.schema = json.load(f)

    def load(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return json.load(f)

    def store(self, name, plan):
        with open(self.path(name), "w", encoding="utf-8") as f:
            json.dump(plan, f)

    def save_plan(self, name, *request):
        self.check(["demo/model", "unused", *request, "-n", "-q", "--force", "--save-plan", name])
        return self.load(name)

    def automatic(self):
        plan = self.save_plan("plan.json", "4")
        plan["quality"] = QUALITY
        for tensor in plan["tensors"]:
            if tensor["type"] == "q4_k":
                tensor["judged"] = JUDGED
        return plan

    def test_saved_plans_follow_the_schema(self):
        for request in (["layered"], ["Q4_K_M"], ["2", "--type", "^mm=iq4_nl"], ["copy"]):
            schema.check(self.save_plan("plan.json", *request), self.schema)
        self.store("automatic.json", self.automatic())
        self.check(["demo/model", "unused", "-n", "-q", "--plan", "automatic.json", "--save-plan", "again.json"])
        plan = self.load("again.json")
        schema.check(plan, self.schema)
        self.assertEqual(plan["quality"], QUALITY)
        self.assertEqual([t["judged"] for t in plan["tensors"] if "judged" in t],
                         [JUDGED for t in plan["tensors"] if t["type"] == "q4_k"])

    def test_the_schema_refuses_what_the_program_does(self):
        plan = self.automatic()
        schema.check(plan, self.schema)
        some = next(i for i, t in enumerate(plan["tensors"]) if "judged" in t)
        for place, key, value in (("", "version", 2), ("", "recipes", "a"), ("", "tag", "../up"), ("quality", "goal", ""),
                                  ("quality", "measured", -1), ("tensor", "type", "q9"), ("tensor", "half", "ear"),
                                  ("tensor", "shape", [-1]), ("judged", "error", "much"), ("judged", "next", "q8_k"),
                                  ("judged", "price", 1), ("judged", "next_gain", None)):
            with self.subTest(place=place, key=key):
                wrong = copy.deepcopy(plan)
                places = {"": wrong, "quality": wrong["quality"], "tensor": wrong["tensors"][some],
                          "judged": wrong["tensors"][some]["judged"]}
                places[place][key] = value
                if value is None:
                    del places[place][key]
                with self.assertRaises(AssertionError):
                    schema.check(wrong, self.schema)
                self.store("wrong.json", wrong)
                self.assertNotEqual(self.run_cli(["demo/model", "out", "-n", "-q", "--plan", "wrong.json"]).code, 0)

    def test_an_automatic_plan_gives_the_same_bytes(self):
        self.store("plan.json", self.automatic())
        self.check(["demo/model", "direct", "4", "-q"])
        self.check(["demo/model", "planned", "--plan", "plan.json", "-q"])
        for name in ("model-4bit.gguf", "mmproj-model-4bit.gguf"):
            self.check_same_files(self.path("direct", name), self.path("planned", name))

    def test_an_edit_shows(self):
        plan = self.automatic()
        edited = next(t for t in plan["tensors"] if t["name"] == "blk.1.ffn_up.weight")
        edited["type"] = "q6_k"
        self.store("plan.json", plan)
        self.check(["demo/model", "unused", "-n", "-q", "--plan", "plan.json", "--save-plan", "edited.json"])
        after = self.load("edited.json")
        self.assertEqual(after["recipe"], "4 bits, edited")
        self.assertNotIn("quality", after)
        found = next(t for t in after["tensors"] if t["name"] == edited["name"])
        self.assertEqual((found["type"], found["reason"], "judged" in found), ("q6_k", "q6_k: plan file", False))
        self.assertEqual(sum("judged" in t for t in after["tensors"]), sum("judged" in t for t in plan["tensors"]) - 1)


if __name__ == "__main__":
    unittest.main()
