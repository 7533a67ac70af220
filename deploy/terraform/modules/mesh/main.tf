# Who talks to whom: from the list of all nodes, the firewall rows, the seeds and the file that regions exchange.
#
# It makes nothing. The link of a node is open to each other node by its one address, and to nobody else.

locals {
  regions = distinct([for node in values(var.nodes) : node.region])

  # Every other node of the deployment, neighbours included, is a peer.
  peers = {
    for region in local.regions : region => {
      for name, node in var.nodes : name => { cidr = "${node.addr}/32", port = node.port, region = node.region }
    }
  }

  # Each node joins through the voters of the other regions; the first one of all begins the group and needs none.
  seeds = {
    for name, node in var.nodes : name => [
      for other in sort([for id, candidate in var.nodes : format("%09d/%s", candidate.number, id) if candidate.voter && id != name]) : {
        node   = var.nodes[split("/", other)[1]].number
        region = var.nodes[split("/", other)[1]].region
        addr   = "${var.nodes[split("/", other)[1]].addr}:${var.nodes[split("/", other)[1]].port}"
      }
    ]
  }
}
