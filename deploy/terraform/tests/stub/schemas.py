"""Writes the files in schemas/ from where the facts are: names, types, flags and nesting, and nothing else.

    schemas.py google    PACKAGE     npm package @cdktf/provider-google 16.12.1, unpacked
    schemas.py azurerm   PACKAGE     npm package @cdktf/provider-azurerm 14.23.1, unpacked
    schemas.py alicloud  SOURCE      github.com/aliyun/terraform-provider-alicloud, checked out at the commit below
    schemas.py aws       FILE        what `terraform providers schema -json` printed, with hashicorp/aws 5.100.0
    schemas.py … --check             writes nothing; fails where the file in schemas/ is another one

Which resources are wanted is read from the modules and tests beside it.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TERRAFORM = HERE.parents[1]
COMMIT = "81c43b6727a09e9da37b3d88818c3ba5fa17fa14"
SOURCES = {
    "google": "names, types, required flags and nesting in the npm package @cdktf/provider-google 16.12.1 (MPL-2.0)",
    "azurerm": "names, types, required flags and nesting in the npm package @cdktf/provider-azurerm 14.23.1 (MPL-2.0)",
    "alicloud": f"names, types, flags and nesting in the Go source of aliyun/terraform-provider-alicloud at {COMMIT} (MPL-2.0)",
    "aws": "`terraform providers schema -json` of hashicorp/aws 5.100.0",
}
# Filled in by the cloud where they are not given; the bindings do not say so, and the modules read them.
ALSO_COMPUTED = {("google_compute_address", "address")}


def wanted(provider):
    """Types of resources and of data sources that something here names."""
    found = {"resource": set(), "data": set()}
    for path in TERRAFORM.rglob("*.tf"):
        for kind, name in re.findall(r'^(resource|data) "(\w+)" ', path.read_text(), re.M):
            if name.startswith(f"{provider}_"):
                found[kind].add(name)
    return sorted(found["resource"]), sorted(found["data"])


def block(attributes, blocks):
    return {key: value for key, value in (("attributes", attributes), ("block_types", blocks)) if value}


# ---- bindings: JavaScript for the shape, its declarations for what is required --------------------------------------------------

ENTRY = re.compile(r'^ *([a-z0-9_]+): \{\s*value: (.*?),\s*isBlock: \w+,\s*type: "(\w+)",\s*storageClassType: "([^"]+)"', re.S | re.M)
SIMPLE = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
GETTERS = {"getNumberAttribute": "number", "getBooleanAttribute": "bool", "getListAttribute": ["list", "string"]}
MAPS = {"StringMap": "string", "NumberMap": "number", "BooleanMap": "bool"}


class Bindings:
    """One resource of a package: its index.js and index.d.ts."""

    def __init__(self, directory):
        self.code = (directory / "index.js").read_text()
        declarations = (directory / "index.d.ts").read_text()
        self.kind = re.search(r'tfResourceType = "(\w+)"', self.code)[1]
        # Functions that write a block; each lists its entries.
        self.writers = {name: ENTRY.findall(body) for name, body in re.findall(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", self.code, re.M | re.S)}
        # By interface, each argument's name as Terraform has it, and whether it must be given.
        self.required = {}
        for name, body in re.findall(r"^export interface (\w+)[^{]*\{\n(.*?)^\}", declarations, re.M | re.S):
            members = re.findall(r"#([a-z0-9_]+)\}(?:(?!readonly).)*?readonly \w+(\??):", body, re.S)
            self.required[name.lower()] = {member: optional == "" for member, optional in members}

    def schema(self):
        main = re.search(r"^class (\w+) extends cdktf\.Terraform(?:Resource|DataSource|Provider)\b", self.code, re.M)
        body = self.code[main.start():]
        entries = re.search(r"synthesizeHclAttributes\(\) \{\s*const attrs = \{\n(.*?)\n {8}\};", body, re.S)
        found = self.block(ENTRY.findall(entries[1]) if entries else [], self.required.get(f"{main[1]}config".lower(), {}))
        attributes, blocks = found.setdefault("attributes", {}), found.get("block_types", {})
        for name, getter in re.findall(r"// ([a-z0-9_]+) - computed: true, optional: false, required: false\n\s*get \w+\(\) \{\s*return \S*?(\w+)\(", body):
            if name not in blocks:
                attributes[name] = {"type": GETTERS.get(getter, "string"), "computed": True}
        for holder, name in re.findall(r'this\._\w+ = new (?:cdktf\.)?(\w+)\(this, "([a-z0-9_]+)"', body):
            if name not in attributes and name not in blocks:
                attributes[name] = {"type": ["map", MAPS[holder]] if holder in MAPS else ["list", ["object", {}]], "computed": True}
        if "id" in attributes:
            attributes["id"] = {"type": "string", "optional": True, "computed": True}
        for kind, name in ALSO_COMPUTED:
            if kind == self.kind:
                attributes[name]["computed"] = True
        return block(attributes, blocks)

    def block(self, entries, required):
        attributes, blocks = {}, {}
        for name, value, kind, storage in entries:
            writer = re.search(r"(\w+)ToHclTerraform\b", value)
            if writer and writer[1] in self.writers:
                nesting = "single" if name == "timeouts" or kind not in ("list", "set", "map") else kind
                said = {"nesting_mode": nesting, "block": self.block(self.writers[writer[1]], self.required.get(writer[1].lower(), {}))}
                if required.get(name):
                    said["min_items"] = 1
                if nesting in ("list", "set") and "istMapper" not in value:
                    said["max_items"] = 1
                blocks[name] = said
                continue
            base = re.match(r"(string|number|boolean|any)", storage)
            of = SIMPLE[base[1]] if base else "string"
            flag = "required" if required.get(name) else "optional"
            attributes[name] = {"type": of if kind == "simple" else [kind, of], flag: True}
        return block(attributes, blocks)


def of_bindings(provider, package):
    directories = {}
    for directory in sorted((package / "lib").iterdir()):
        if (directory / "index.js").exists():
            directories[directory.name] = directory

    def found(kind, name):
        plain = name.removeprefix(f"{provider}_").replace("_", "-")
        # A name that would be a word of the language has something at its end.
        for candidate in (f"{kind}{plain}", f"{kind}{plain}-a"):
            if candidate in directories:
                return {"version": 0, "block": Bindings(directories[candidate]).schema()}
        raise SystemExit(f"{name} is not in {package}")

    resources, sources = wanted(provider)
    text = next(path for path in (directory / "index.js" for directory in directories.values()) if "providerVersion: '" in path.read_text()).read_text()
    version = re.search(r"providerVersion: '([\d.]+)'", text)
    return {
        "provider_version": version[1],
        "provider": {"version": 0, "block": Bindings(directories["provider"]).schema()},
        "resource_schemas": {name: found("", name) for name in resources},
        "data_source_schemas": {name: found("data-" + provider + "-", name) for name in sources},
    }


# ---- Go source: literals of schema.Schema --------------------------------------------------------------------------------------

GO_TYPES = {"TypeString": "string", "TypeInt": "number", "TypeFloat": "number", "TypeBool": "bool"}
GO_NESTING = {"TypeList": "list", "TypeSet": "set", "TypeMap": "map"}


def closing(text, at):
    """The place after the bracket that closes the one at `at`, past texts and comments."""
    depth, inside = 0, None
    while True:
        letter = text[at]
        if inside:
            if letter == "\\" and inside == '"':
                at += 1
            elif letter == inside:
                inside = None
        elif letter in "\"`":
            inside = letter
        elif text.startswith("//", at):
            at = text.index("\n", at)
        elif letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1


def members(body):
    """Names and literals of a map of schemas; None where a function makes the schema."""
    opening = re.compile(r'"([a-z0-9_]+)":\s*(&?(?:schema\.Schema)?\s*\{|\w[\w.]*\([^)\n]*\),?)')
    at = 0
    while found := opening.search(body, at):
        if found[2].endswith("{"):
            at = closing(body, found.end() - 1)
            yield found[1], body[found.end():at - 1]
        else:
            at = found.end()
            yield found[1], None


def of_literals(body):
    attributes, blocks = {}, {}
    for name, literal in members(body):
        if literal is None:
            attributes[name] = {"type": ["map", "string"], "optional": True} if name == "tags" else {"type": "string", "optional": True, "computed": True}
            continue
        element = re.search(r"Elem:\s*&schema\.(Resource|Schema)\{", literal)
        own, inner = literal, ""
        if element:
            end = closing(literal, element.end() - 1)
            own, inner = literal[:element.start()] + literal[end:], literal[element.end():end - 1]
        flags = {flag.lower(): True for flag in ("Required", "Optional", "Computed", "Sensitive") if re.search(rf"\b{flag}:\s*true", own)}
        bounds = {bound: int(said[1]) for bound in ("MinItems", "MaxItems") if (said := re.search(rf"\b{bound}:\s*(\d+)", own))}
        said = re.search(r"Type:\s*schema\.(\w+)", own)
        kind = said[1] if said else "TypeString"
        if kind in GO_TYPES:
            attributes[name] = {"type": GO_TYPES[kind], **flags}
        elif element and element[1] == "Resource":
            start = re.search(r"Schema:\s*map\[string\]\*schema\.Schema\{", inner)
            below = of_literals(inner[start.end():closing(inner, start.end() - 1) - 1])
            if flags.get("computed") and not flags.get("optional"):
                fields = {field: about["type"] for field, about in below.get("attributes", {}).items()}
                attributes[name] = {"type": [GO_NESTING[kind], ["object", fields]], **flags}
                continue
            blocks[name] = {"nesting_mode": GO_NESTING[kind], "block": below}
            if bounds.get("MaxItems"):
                blocks[name]["max_items"] = bounds["MaxItems"]
            if flags.get("required"):
                blocks[name]["min_items"] = max(1, bounds.get("MinItems", 0))
        else:
            of = re.search(r"schema\.(Type\w+)", inner)
            attributes[name] = {"type": [GO_NESTING[kind], GO_TYPES.get(of[1], "string") if of else "string"], **flags}
    return block(attributes, blocks)


def of_go(path):
    text = path.read_text()
    start = re.search(r"\n\t\tSchema:\s*map\[string\]\*schema\.Schema\{", text)
    found = of_literals(text[start.end():closing(text, start.end() - 1) - 1])
    found.setdefault("attributes", {})["id"] = {"type": "string", "optional": True, "computed": True}
    timeouts = re.search(r"Timeouts:\s*&schema\.ResourceTimeout\{", text)
    if timeouts:
        names = re.findall(r"(\w+):\s*schema\.DefaultTimeout", text[timeouts.end():closing(text, timeouts.end() - 1)])
        given = {name.lower(): {"type": "string", "optional": True} for name in names}
        found.setdefault("block_types", {})["timeouts"] = {"nesting_mode": "single", "block": {"attributes": given}}
    return {"version": 0, "block": found}


def of_source(provider, source):
    resources, sources = wanted(provider)
    texts = ("region", "access_key", "secret_key", "security_token", "profile", "account_id")
    configured = {name: {"type": "string", "optional": True} for name in texts}
    configured |= {name: {"type": "bool", "optional": True} for name in ("skip_region_validation", "skip_credential_validation")}
    return {
        "provider_version": "1.289.0",
        "provider": {"version": 0, "block": {"attributes": configured}},
        "resource_schemas": {name: of_go(source / provider / f"resource_{name}.go") for name in resources},
        "data_source_schemas": {name: of_go(source / provider / f"data_source_{name}.go") for name in sources},
    }


# ---- Terraform's own words -----------------------------------------------------------------------------------------------------


def of_terraform(provider, file):
    said = json.loads(file.read_text())["provider_schemas"][f"registry.terraform.io/hashicorp/{provider}"]
    keep = ("type", "required", "optional", "computed", "sensitive")

    def trimmed(said):
        attributes = {name: {key: value for key, value in about.items() if key in keep} for name, about in said.get("attributes", {}).items()}
        nested = {}
        for name, about in said.get("block_types", {}).items():
            nested[name] = {key: value for key, value in about.items() if key in ("nesting_mode", "min_items", "max_items")}
            nested[name]["block"] = trimmed(about["block"])
        return block(attributes, nested)

    def chosen(key, names):
        return {name: {"version": said[key][name]["version"], "block": trimmed(said[key][name]["block"])} for name in names}

    resources, sources = wanted(provider)
    return {
        "provider_version": "5.100.0",
        "provider": {"version": said["provider"]["version"], "block": trimmed(said["provider"]["block"])},
        "resource_schemas": chosen("resource_schemas", resources),
        "data_source_schemas": chosen("data_source_schemas", sources),
    }


def written(provider, schema):
    """One line a resource, so that a change can be read."""
    def one(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    parts = [f'"source": {json.dumps(SOURCES[provider])}', f'"provider_version": {json.dumps(schema["provider_version"])}', f'"provider": {one(schema["provider"])}']
    for key in ("resource_schemas", "data_source_schemas"):
        lines = [f"{json.dumps(name)}: {one(said)}" for name, said in sorted(schema[key].items())]
        parts.append(f'"{key}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


READERS = {"google": of_bindings, "azurerm": of_bindings, "alicloud": of_source, "aws": of_terraform}


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    if len(arguments) != 2 or arguments[0] not in READERS:
        raise SystemExit(__doc__)
    provider, place = arguments[0], Path(arguments[1])
    text = written(provider, READERS[provider](provider, place))
    path = HERE / "schemas" / f"{provider}.json"
    if "--check" not in sys.argv:
        path.write_text(text)
    elif text != path.read_text():
        before, after = json.loads(path.read_text()), json.loads(text)
        for key in ("provider", "resource_schemas", "data_source_schemas"):
            if key == "provider":
                if before[key] != after[key]:
                    print("the provider's own arguments differ")
                continue
            for name in sorted(before[key].keys() | after[key].keys()):
                if before[key].get(name) != after[key].get(name):
                    print(f"{name} differs" if name in before[key] and name in after[key] else f"{name} is in one only")
        raise SystemExit(f"{path.name} is another one")


main()
