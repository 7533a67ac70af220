# Three real nodes on this machine: Tokyo, Singapore and Frankfurt on loopback addresses of their own. No cloud, no provider.
#
# `terraform_data` runs the commands that an operator would type: certificates, one node a region, the first commands of a
# deployment, a few lines, a question to all regions. Destroying stops the nodes and removes what they kept.

terraform {
  required_version = ">= 1.11.0"
}

variable "binary" {
  description = "The program `domicile`, as `../../../../target/debug/domicile` after `cargo build`."
  type        = string
  default     = "../../../../target/debug/domicile"

  validation {
    condition     = fileexists(pathexpand(var.binary))
    error_message = "There is no program at that path: build it with `cargo build`, or name another with `-var binary=PATH`."
  }
}

variable "run_dir" {
  description = "Where certificates, keys and data of the three nodes lie; null for `run` beside this file. It is removed at the end."
  type        = string
  default     = null
}

variable "base" {
  description = "Ports: the Elasticsearch API of the first region; the native API and the link follow at +1 and +2, the next region at +10."
  type        = number
  default     = 9310

  validation {
    condition     = var.base >= 1024 && var.base <= 65000
    error_message = "`base` lies between 1024 and 65000."
  }
}

locals {
  run    = abspath(coalesce(var.run_dir, "${path.module}/run"))
  binary = abspath(pathexpand(var.binary))
  facts  = { for file in fileset("${path.module}/../../../../regions", "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${path.module}/../../../../regions/${file}")) }
  order  = ["tokyo", "singapore", "frankfurt"]

  nodes = {
    for place, region in local.order : region => {
      number = place + 1
      region = region
      zone   = "${region}-here"
      voter  = true
      addr   = "127.0.${place + 1}.1"
      es     = "127.0.${place + 1}.1:${var.base + 10 * place}"
      api    = "127.0.${place + 1}.1:${var.base + 10 * place + 1}"
      port   = var.base + 10 * place + 2
    }
  }
}

module "mesh" {
  source = "../../modules/mesh"

  deployment = "domicile"
  nodes      = { for name, node in local.nodes : name => { number = node.number, region = node.region, zone = node.zone, voter = node.voter, addr = node.addr, port = node.port } }
}

# One machine is no place in Tokyo: of the rules, those about the group and about doors apply here.
module "residency" {
  source = "../../modules/residency"

  facts   = local.facts
  group   = module.mesh.group
  regions = {}
}

# Certificates and officers' keys, one authority a region; with them go the node's data, so that a replaced node keeps them. What Terraform reads of them is public.
resource "terraform_data" "pki" {
  for_each = local.nodes

  input = { dir = local.run, region = each.key }

  provisioner "local-exec" {
    command     = "mkdir -p \"$DIR/pki\" && \"$BINARY\" pki init --region \"$REGION\" --dir \"$DIR/pki\" && \"$BINARY\" pki issue --region \"$REGION\" --node \"$NUMBER\" --dir \"$DIR/pki\""
    interpreter = ["/bin/sh", "-c"]
    environment = { BINARY = local.binary, DIR = local.run, REGION = each.key, NUMBER = each.value.number }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "rm -rf \"$DIR/pki/$REGION\" \"$DIR/$REGION\" && rmdir \"$DIR/pki\" \"$DIR\" 2>/dev/null || true"
    interpreter = ["/bin/sh", "-c"]
    environment = { DIR = self.input.dir, REGION = self.input.region }
  }

  depends_on = [module.residency]
}

module "config" {
  source   = "../../modules/node-config"
  for_each = local.nodes

  deployment = "domicile"
  advertise  = "${each.value.addr}:${each.value.port}"
  voter      = each.value.voter
  # The first node begins the group; the others join it.
  seeds  = each.value.number == 1 ? [] : module.mesh.seeds[each.key]
  listen = { link = "${each.value.addr}:${each.value.port}", es = each.value.es, api = each.value.api, tls = false }

  # Known once the certificates are made: the path hangs on them.
  bundles            = { for region, pki in terraform_data.pki : region => file("${pki.output.dir}/pki/${region}/ca.crt") }
  officer_public_key = trimspace(file("${terraform_data.pki[each.key].output.dir}/pki/${each.key}/officer.pub"))

  directories = { etc = "${local.run}/${each.key}", secrets = "${local.run}/${each.key}/secrets", data = "${local.run}/${each.key}/data" }

  secret_files = {
    cert       = "${local.run}/pki/${each.key}/node-${each.value.number}.crt"
    key        = "${local.run}/pki/${each.key}/node-${each.value.number}.key"
    region_key = "${local.run}/pki/${each.key}/region.key"
  }

  # What only a machine of its own needs.
  artifact    = { url = "https://localhost/domicile", sha256 = filesha256(local.binary) }
  secrets     = { kind = "aws", ref = "/not/used/here" }
  location    = "here"
  data_device = "/dev/null"
}

# A node: started and found ready, or the apply fails with what it said; asked to stop, and waited for, on destroy.
resource "terraform_data" "node" {
  for_each = local.nodes

  input            = { dir = local.run, region = each.key, api = each.value.api, stop = "${abspath(path.module)}/files/stop.sh" }
  triggers_replace = [sha256(module.config[each.key].node_toml), filesha256(local.binary)]

  provisioner "local-exec" {
    command     = "exec /bin/sh \"$SCRIPT\""
    interpreter = ["/bin/sh", "-c"]
    environment = {
      SCRIPT    = "${path.module}/files/start.sh"
      BINARY    = local.binary
      DIR       = local.run
      REGION    = each.key
      API       = each.value.api
      NODE_TOML = module.config[each.key].node_toml
    }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "exec /bin/sh \"$STOP\""
    interpreter = ["/bin/sh", "-c"]
    environment = { STOP = self.input.stop, DIR = self.input.dir, REGION = self.input.region }
  }
}

# The first commands of a deployment, a stream that three officers let out counts of, and lines in each region.
resource "terraform_data" "deployment" {
  input = { dir = local.run }

  provisioner "local-exec" {
    command     = "exec /bin/sh \"$SCRIPT\""
    interpreter = ["/bin/sh", "-c"]
    environment = {
      SCRIPT = "${abspath(path.module)}/files/begin.sh"
      BINARY = local.binary
      DIR    = local.run
      NODES  = join("\n", [for region in local.order : join(" ", [region, local.nodes[region].number, local.nodes[region].addr, local.nodes[region].port, local.nodes[region].es, local.nodes[region].api])])
    }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "rm -f \"$DIR/profile.toml\" \"$DIR/answer.json\""
    interpreter = ["/bin/sh", "-c"]
    environment = { DIR = self.input.dir }
  }

  depends_on = [terraform_data.node]
}

# One question to all regions, asked of Tokyo.
resource "terraform_data" "question" {
  input            = { dir = local.run }
  triggers_replace = concat([terraform_data.deployment.id], [for node in values(terraform_data.node) : node.id])

  provisioner "local-exec" {
    command     = "exec /bin/sh \"$SCRIPT\""
    interpreter = ["/bin/sh", "-c"]
    environment = { SCRIPT = "${abspath(path.module)}/files/ask.sh", DIR = local.run, REGIONS = length(local.nodes) }
  }
}

# A node that somebody ended is no difference that Terraform sees by itself; this says so. `-replace` starts it again.
check "nodes_run" {
  assert {
    condition     = alltrue([for region in local.order : !fileexists("${local.run}/${region}/pid") || can(regex("^[0-9]+ \\(.*\\) [RSD] ", file("/proc/${trimspace(file("${local.run}/${region}/pid"))}/stat")))])
    error_message = "A node is not running: apply with -replace='terraform_data.node[\"REGION\"]'."
  }
}

output "regions" {
  description = "Where each region is asked."
  value       = { for region in local.order : region => { es = "http://${local.nodes[region].es}", api = "http://${local.nodes[region].api}" } }
}

output "answer" {
  description = "What three regions answered to one question."
  value       = jsondecode(file("${terraform_data.question.output.dir}/answer.json"))
}

output "profile" {
  description = "Client profile with a key for each region: `domicile --profile FILE status`."
  value       = "${terraform_data.deployment.output.dir}/profile.toml"
}
