# The alarm on load, and the hook that starts standby nodes: alert, topic, trigger and workflow, all in this location.

locals {
  standby   = [for name, node in local.running : name if node.standby]
  has_start = length(local.standby) > 0 ? 1 : 0
}

resource "google_monitoring_alert_policy" "busy" {
  count = length(local.running) > 0 ? 1 : 0

  project               = var.project
  display_name          = "${local.name} is busy"
  combiner              = "OR"
  notification_channels = concat(var.alarm_channels, google_monitoring_notification_channel.busy[*].id)
  user_labels           = local.labels

  conditions {
    display_name = "CPU above ${var.scale_out.cpu_percent} % for ${var.scale_out.minutes} minutes: standby nodes are started"
    condition_threshold {
      filter          = "resource.type = \"gce_instance\" AND metric.type = \"compute.googleapis.com/instance/cpu/utilization\" AND metadata.user_labels.domicile_region = \"${var.region}\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.scale_out.cpu_percent / 100
      duration        = "${var.scale_out.minutes * 60}s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MEAN"
      }
    }
  }
}

# An incident tells the load of a machine, and never what lies on it. It stays in this location all the same.
resource "google_pubsub_topic" "busy" {
  count = local.has_start

  project      = var.project
  name         = "${local.name}-busy"
  kms_key_name = google_kms_crypto_key.region.id
  labels       = local.labels

  message_storage_policy {
    allowed_persistence_regions = [var.location]
    enforce_in_transit          = true
  }
  depends_on = [google_kms_crypto_key_iam_member.topics]
}

resource "google_kms_crypto_key_iam_member" "topics" {
  count = local.has_start

  crypto_key_id = google_kms_crypto_key.region.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${data.google_project.current[0].number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_monitoring_notification_channel" "busy" {
  count = local.has_start

  project      = var.project
  display_name = "${local.name} is busy"
  type         = "pubsub"
  labels       = { topic = google_pubsub_topic.busy[0].id }
}

resource "google_pubsub_topic_iam_member" "alerts" {
  count = local.has_start

  project = var.project
  topic   = google_pubsub_topic.busy[0].name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:service-${data.google_project.current[0].number}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
}

data "google_project" "current" {
  count = local.has_start

  project_id = var.project
}

# Starting machines that were approved and certified beforehand is all that load may do: a node that is not approved by the
# region's officer cannot enter the group.
resource "google_service_account" "starter" {
  count = local.has_start

  project      = var.project
  account_id   = substr("starter-${sha256(local.name)}", 0, 30)
  display_name = "Starts the standby nodes of ${local.name}"
}

resource "google_project_iam_custom_role" "starter" {
  count = local.has_start

  project     = var.project
  role_id     = "${replace(local.name, "-", "_")}_starter"
  title       = "Starts the standby nodes of ${local.name}"
  permissions = ["compute.instances.start"]
}

resource "google_compute_instance_iam_member" "starter" {
  for_each = toset(local.standby)

  project       = var.project
  zone          = var.nodes[each.key].zone
  instance_name = google_compute_instance.node[each.key].name
  role          = google_project_iam_custom_role.starter[0].id
  member        = "serviceAccount:${google_service_account.starter[0].email}"
}

resource "google_project_iam_member" "starter" {
  for_each = local.has_start == 1 ? toset(["roles/eventarc.eventReceiver", "roles/workflows.invoker"]) : toset([])

  project = var.project
  role    = each.key
  member  = "serviceAccount:${google_service_account.starter[0].email}"
}

resource "google_workflows_workflow" "start" {
  count = local.has_start

  project         = var.project
  region          = var.location
  name            = "${local.name}-start-standby"
  description     = "Starts the standby nodes of ${local.name}"
  service_account = google_service_account.starter[0].id
  labels          = local.labels
  source_contents = jsonencode({
    main = {
      params = ["event"]
      steps = [
        { read = { assign = [{ told = "$${json.decode(base64.decode(event.data.message.data))}" }] } },
        { look = { switch = [{ condition = "$${told.incident.state != \"open\"}", next = "end" }] } },
        { start = { "for" = {
          value = "node"
          in    = [for name in local.standby : { zone = var.nodes[name].zone, name = google_compute_instance.node[name].name }]
          steps = [{ one = {
            call = "googleapis.compute.v1.instances.start"
            args = { project = var.project, zone = "$${node.zone}", instance = "$${node.name}" }
          } }]
        } } },
      ]
    }
  })
}

resource "google_eventarc_trigger" "busy" {
  count = local.has_start

  project         = var.project
  location        = var.location
  name            = "${local.name}-busy"
  service_account = google_service_account.starter[0].email
  labels          = local.labels

  matching_criteria {
    attribute = "type"
    value     = "google.cloud.pubsub.topic.v1.messagePublished"
  }
  transport {
    pubsub {
      topic = google_pubsub_topic.busy[0].id
    }
  }
  destination {
    workflow = google_workflows_workflow.start[0].id
  }
}
