# Identity and nodes: each node has a service account, an address and a data disk that outlive its machine.

locals {
  secrets = { for name in keys(var.nodes) : name => "projects/${var.project}/secrets/${local.name}-${name}" }

  # What a machine fetches before its node starts: the names stand in one place, in the language of this cloud.
  secret_files = [for name in split(" ", regex("names=\"([a-z. ]+)\"", file("${path.module}/../node-config/files/prepare.sh"))[0]) : replace(name, ".", "-")]
  own_secrets  = concat(local.secret_files, var.keys == null ? [] : ["transit-token"])
}

resource "google_service_account" "node" {
  for_each = var.nodes

  project      = var.project
  account_id   = substr("${each.key}-${sha256(local.name)}", 0, 30)
  display_name = "Domicile node ${each.key}"
}

resource "google_storage_bucket_iam_member" "cold" {
  for_each = var.nodes

  bucket = google_storage_bucket.store["cold"].name
  role   = "roles/storage.objectUser"
  member = "serviceAccount:${google_service_account.node[each.key].email}"
}

# A node asks where its bucket lies and whether it is of one place, before it writes into it.
resource "google_storage_bucket_iam_member" "cold_facts" {
  for_each = var.nodes

  bucket = google_storage_bucket.store["cold"].name
  role   = "roles/storage.legacyBucketReader"
  member = "serviceAccount:${google_service_account.node[each.key].email}"
}

# The ledger is added to and read; nobody here may take from it.
resource "google_storage_bucket_iam_member" "ledger" {
  for_each = { for pair in setproduct(keys(var.nodes), ["objectCreator", "objectViewer"]) : "${pair[0]}-${pair[1]}" => { node = pair[0], role = pair[1] } }

  bucket = google_storage_bucket.store["ledger"].name
  role   = "roles/storage.${each.value.role}"
  member = "serviceAccount:${google_service_account.node[each.value.node].email}"
}

# The operator makes these secrets, kept in this location only; Terraform never reads them.
resource "google_secret_manager_secret_iam_member" "own" {
  for_each = { for pair in setproduct(keys(var.nodes), local.own_secrets) : "${pair[0]}-${pair[1]}" => { node = pair[0], secret = pair[1] } }

  project   = var.project
  secret_id = "${local.name}-${each.value.node}-${each.value.secret}"
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.node[each.value.node].email}"
}

resource "google_compute_address" "node" {
  for_each = var.nodes

  project      = var.project
  name         = "${local.name}-${each.key}"
  region       = var.location
  address_type = "EXTERNAL"
  labels       = local.labels
}

resource "google_compute_disk" "data" {
  for_each = var.nodes

  project = var.project
  name    = "${local.name}-${each.key}-data"
  zone    = each.value.zone
  type    = "pd-ssd"
  size    = each.value.data_gib
  labels  = local.labels

  disk_encryption_key {
    kms_key_self_link = google_kms_crypto_key.region.id
  }
}

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
  secrets            = { kind = "gcp", ref = local.secrets[each.key] }
  location           = var.location
  data_device        = "/dev/disk/by-id/google-domicile-data"
  store = {
    kind          = "gcs"
    bucket        = google_storage_bucket.store["cold"].name
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

resource "terraform_data" "generation" {
  for_each = var.nodes

  input = each.value.generation
}

resource "google_compute_instance" "node" {
  for_each = local.running

  project        = var.project
  name           = "${local.name}-${each.key}"
  zone           = each.value.zone
  machine_type   = each.value.size
  tags           = [local.name]
  labels         = local.labels
  desired_status = each.value.standby ? "TERMINATED" : "RUNNING"

  boot_disk {
    kms_key_self_link = google_kms_crypto_key.region.id
    initialize_params {
      image = var.image
      size  = 20
    }
  }
  network_interface {
    subnetwork = google_compute_subnetwork.region.id
    access_config {
      nat_ip = google_compute_address.node[each.key].address
    }
  }
  service_account {
    email  = google_service_account.node[each.key].email
    scopes = ["cloud-platform"]
  }
  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }
  metadata = {
    user-data              = module.node_config[each.key].user_data
    block-project-ssh-keys = "true"
    serial-port-enable     = "false"
  }

  lifecycle {
    # A new image or configuration never replaces a machine by itself: raise the node's `generation`, one node at a time.
    ignore_changes       = [boot_disk, metadata, attached_disk, desired_status]
    replace_triggered_by = [terraform_data.generation[each.key]]

    precondition {
      condition     = var.mesh[each.key].addr == google_compute_address.node[each.key].address && var.mesh[each.key].number == each.value.number
      error_message = "The mesh says another address or number of ${each.key} than this region has: write mesh.json again from the outputs."
    }
  }
  depends_on = [module.residency]
}

resource "google_compute_attached_disk" "data" {
  for_each = local.running

  project     = var.project
  zone        = each.value.zone
  disk        = google_compute_disk.data[each.key].id
  instance    = google_compute_instance.node[each.key].id
  device_name = "domicile-data"
}
