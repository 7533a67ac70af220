# Nodes: each has an address and a data disk that outlive its machine, and a machine once the reviewed mesh names it.

module "node_config" {
  source   = "../node-config"
  for_each = local.running

  deployment         = var.deployment
  advertise          = "${var.mesh[each.key].addr}:7443"
  voter              = each.value.voter
  seeds              = each.value.number == min([for node in values(var.mesh) : node.number]...) ? [] : module.mesh.seeds[each.key]
  bundles            = var.bundles
  officer_public_key = var.officer_public_key
  artifact           = var.artifact
  secrets            = { kind = "aws", ref = local.secrets[each.key] }
  location           = var.location
  data_device        = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(aws_ebs_volume.data[each.key].id, "-", "")}"
  store = {
    kind          = "s3"
    bucket        = aws_s3_bucket.store["cold"].bucket
    location      = var.location
    archive_class = var.archive_class == "none" ? null : var.archive_class
  }
  keys = var.keys == null ? null : {
    address   = var.keys.address
    key       = "${var.keys.key_prefix}-${each.key}"
    mount     = var.keys.mount
    namespace = var.keys.namespace
  }
}

resource "aws_eip" "node" {
  for_each = var.nodes

  domain = "vpc"
  tags   = merge(local.tags, { Name = "${local.name}-${each.key}" })
}

resource "aws_ebs_volume" "data" {
  for_each = var.nodes

  availability_zone = each.value.zone
  size              = each.value.data_gib
  type              = "gp3"
  encrypted         = true
  kms_key_id        = aws_kms_key.region.arn
  final_snapshot    = !var.trial
  tags              = merge(local.tags, { Name = "${local.name}-${each.key}-data" })
}

resource "terraform_data" "generation" {
  for_each = var.nodes

  input = each.value.generation
}

resource "aws_instance" "node" {
  #checkov:skip=CKV_AWS_88: the link runs from node to node over one fixed public address, open to declared peers only
  #checkov:skip=CKV2_AWS_41: the profile is attached, by name
  for_each = local.running

  ami                    = var.image
  instance_type          = each.value.size
  subnet_id              = aws_subnet.zone[each.value.zone].id
  vpc_security_group_ids = [aws_security_group.node.id]
  iam_instance_profile   = aws_iam_instance_profile.node[each.key].name
  user_data              = module.node_config[each.key].user_data
  monitoring             = var.detailed_monitoring
  ebs_optimized          = true
  tags                   = merge(local.tags, { Name = "${local.name}-${each.key}" })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    kms_key_id  = aws_kms_key.region.arn
    volume_type = "gp3"
    volume_size = 20
  }

  lifecycle {
    # A new image or configuration never replaces a machine by itself: raise the node's `generation`, one node at a time.
    ignore_changes       = [ami, user_data]
    replace_triggered_by = [terraform_data.generation[each.key]]

    precondition {
      condition     = var.mesh[each.key].addr == aws_eip.node[each.key].public_ip && var.mesh[each.key].number == each.value.number
      error_message = "The mesh says another address or number of ${each.key} than this region has: write mesh.json again from the outputs."
    }
  }

  depends_on = [module.residency]
}

resource "aws_eip_association" "node" {
  for_each = local.running

  instance_id   = aws_instance.node[each.key].id
  allocation_id = aws_eip.node[each.key].allocation_id
}

resource "aws_volume_attachment" "data" {
  for_each = local.running

  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.data[each.key].id
  instance_id                    = aws_instance.node[each.key].id
  stop_instance_before_detaching = true
}

# A standby node is made stopped; whoever starts it, by hand or by the load, is not undone by the next plan.
resource "aws_ec2_instance_state" "standby" {
  for_each = { for name, node in local.running : name => node if node.standby }

  instance_id = aws_instance.node[each.key].id
  state       = "stopped"

  lifecycle {
    ignore_changes = [state]
  }
  depends_on = [aws_volume_attachment.data, aws_eip_association.node]
}
