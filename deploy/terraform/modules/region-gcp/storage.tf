# The region's key and its buckets: in one location, private, versioned, replicated nowhere.

resource "google_kms_key_ring" "region" {
  project  = var.project
  name     = local.name
  location = var.location
}

resource "google_kms_crypto_key" "region" {
  name                       = "rest"
  key_ring                   = google_kms_key_ring.region.id
  rotation_period            = "7776000s"
  destroy_scheduled_duration = "2592000s"
  labels                     = local.labels
}

resource "google_kms_crypto_key_iam_member" "storage" {
  crypto_key_id = google_kms_crypto_key.region.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.storage.email_address}"
}

resource "google_storage_bucket" "store" {
  for_each = toset(["cold", "ledger", "logs"])

  project                     = var.project
  name                        = "${var.project}-${local.name}-${each.key}"
  location                    = upper(var.location)
  storage_class               = "STANDARD"
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true
  force_destroy               = false
  labels                      = local.labels

  versioning {
    enabled = true
  }
  encryption {
    default_kms_key_name = google_kms_crypto_key.region.id
  }
  # Erasure counts on it: what is deleted is not kept a second time.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  dynamic "retention_policy" {
    for_each = each.key == "ledger" ? [var.retention.ledger_lock_days] : []
    content {
      retention_period = tostring(retention_policy.value * 86400)
      is_locked        = true
    }
  }
  dynamic "logging" {
    for_each = each.key == "logs" ? [] : [1]
    content {
      log_bucket        = "${var.project}-${local.name}-logs"
      log_object_prefix = each.key
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      with_state                 = "ARCHIVED"
      days_since_noncurrent_time = var.retention.noncurrent_days
    }
  }
  # What is searched where it lies becomes cheaper by age. What is archived is the node's to say, by the stream's policy: it makes a copy
  # in `archive_class` below `archive/`, which no rule here reaches. A rule that archived by age would have whatever is still searched be
  # paid for like an archive. The node deletes, not the bucket.
  dynamic "lifecycle_rule" {
    for_each = each.key == "cold" ? [local.fact.retention.warm_days] : []
    content {
      action {
        type          = "SetStorageClass"
        storage_class = "NEARLINE"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = ["segments/"]
      }
    }
  }
  dynamic "lifecycle_rule" {
    for_each = each.key == "logs" ? [var.retention.flow_log_days] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.storage]
}
