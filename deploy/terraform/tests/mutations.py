"""Ways to spoil a plan, each with the rule that must refuse it.

A plan is spoilt as somebody would who edits a module or the console's export: one value of one resource is set to another one or
taken away, or one resource more is planned. `PLANNED` says which of them are resources that the plan did not have.
"""

import copy

GONE = object()

# What is spoilt, of which kind of resource, where in it, what it becomes, and the rule.
CHANGES = {
    "aws": [
        ("a data disk in the clear", "aws_ebs_volume", "encrypted", False, "RES-008"),
        ("a data disk that does not say whether it is encrypted", "aws_ebs_volume", "encrypted", GONE, "RES-008"),
        ("a root disk in the clear", "aws_instance", "root_block_device.0.encrypted", False, "RES-008"),
        ("a data disk under a key abroad", "aws_ebs_volume", "kms_key_id", "arn:aws:kms:us-east-1:1:key/x", "RES-008"),
        ("a data disk abroad", "aws_ebs_volume", "availability_zone", "us-east-1a", "RES-001"),
        ("a data disk in the country's other location", "aws_ebs_volume", "availability_zone", "ap-northeast-3a", "RES-002"),
        ("a key of many regions", "aws_kms_key", "multi_region", True, "RES-004"),
        ("a bucket whose policies may open it", "aws_s3_bucket_public_access_block", "block_public_policy", False, "RES-008"),
        ("a bucket for everybody", "aws_s3_bucket_policy", "policy", '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:*"}}', "RES-008"),
        ("a bucket with replication of its own", "aws_s3_bucket", "replication_configuration", [{"role": "r"}], "RES-003"),
        ("the link open to everybody", "aws_vpc_security_group_ingress_rule", "cidr_ipv4", "0.0.0.0/0", "RES-005"),
        ("the link open to half of everybody", "aws_vpc_security_group_ingress_rule", "cidr_ipv4", "128.0.0.0/1", "RES-005"),
        ("the link open to everybody over IPv6", "aws_vpc_security_group_ingress_rule", "cidr_ipv6", "::/0", "RES-005"),
        ("flow logs to another region", "aws_flow_log", "log_destination", "arn:aws:logs:us-east-1:1:log-group:x", "RES-007"),
        ("an alarm to another region", "aws_cloudwatch_metric_alarm", "alarm_actions", ["arn:aws:sns:us-east-1:1:x"], "RES-007"),
    ],
    "gcp": [
        ("a bucket of a continent", "google_storage_bucket", "location", "EU", "RES-004"),
        ("a bucket abroad", "google_storage_bucket", "location", "US-EAST1", "RES-001"),
        ("a bucket of two places", "google_storage_bucket", "custom_placement_config", [{"data_locations": ["A", "B"]}], "RES-004"),
        ("a bucket that may be opened", "google_storage_bucket", "public_access_prevention", "inherited", "RES-008"),
        ("a bucket for everybody", "google_storage_bucket_iam_member", "member", "allUsers", "RES-008"),
        ("a data disk abroad", "google_compute_disk", "zone", "europe-west4-a", "RES-001"),
        ("a data disk under a key abroad", "google_compute_disk", "disk_encryption_key", [{"kms_key_self_link": "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k"}], "RES-008"),
        ("keys of the whole world", "google_kms_key_ring", "location", "global", "RES-004"),
        ("a machine abroad", "google_compute_instance", "zone", "us-east1-b", "RES-001"),
        ("the link open to everybody", "google_compute_firewall", "source_ranges", ["0.0.0.0/0"], "RES-005"),
        ("the link open to whom it does not say", "google_compute_firewall", "source_ranges", [], "RES-005"),
    ],
    "azure": [
        ("storage kept in a second location", "azurerm_storage_account", "account_replication_type", "GZRS", "RES-004"),
        ("storage abroad", "azurerm_storage_account", "location", "westeurope", "RES-001"),
        ("storage whose parts may be opened", "azurerm_storage_account", "allow_nested_items_to_be_public", True, "RES-008"),
        ("a container for everybody", "azurerm_storage_container", "container_access_type", "blob", "RES-008"),
        ("a data disk abroad", "azurerm_managed_disk", "location", "East US", "RES-001"),
        ("keys abroad", "azurerm_key_vault", "location", "eastus", "RES-001"),
        ("the link open to everybody", "azurerm_network_security_rule", "source_address_prefix", "*", "RES-005"),
        ("the link open to the internet", "azurerm_network_security_rule", "source_address_prefix", "Internet", "RES-005"),
    ],
    "alicloud": [
        ("a data disk in the clear", "alicloud_ecs_disk", "encrypted", False, "RES-008"),
        ("a root disk in the clear", "alicloud_instance", "system_disk_encrypted", GONE, "RES-008"),
        ("a data disk abroad", "alicloud_ecs_disk", "zone_id", "cn-hangzhou-h", "RES-001"),
        ("a bucket for everybody", "alicloud_oss_bucket_acl", "acl", "public-read", "RES-008"),
        ("a bucket that may be opened", "alicloud_oss_bucket_public_access_block", "block_public_access", False, "RES-008"),
        ("a bucket reached over other countries", "alicloud_oss_bucket", "transfer_acceleration", [{"enabled": True}], "RES-004"),
        ("rights over keys abroad", "alicloud_ram_policy", "policy_document", '{"Resource": ["acs:kms:us-east-1:1:key/k"]}', "RES-008"),
        ("the link open to everybody", "alicloud_security_group_rule", "cidr_ip", "0.0.0.0/0", "RES-005"),
    ],
}

PLANNED = {
    "aws": [
        ("replication", "aws_s3_bucket_replication_configuration", {"bucket": "x"}, "RES-003"),
        ("snapshots that are copied", "aws_dlm_lifecycle_policy", {"policy_details": [{"schedule": [{"cross_region_copy_rule": [{"target": "us-east-1"}]}]}]}, "RES-003"),
        ("an edge in many countries", "aws_cloudfront_distribution", {"enabled": True}, "RES-004"),
        ("a replica of the key", "aws_kms_replica_key", {"primary_key_arn": "x"}, "RES-004"),
    ],
    "gcp": [
        ("a job that copies buckets", "google_storage_transfer_job", {"description": "x"}, "RES-003"),
        ("a snapshot abroad", "google_compute_snapshot", {"storage_locations": ["us-east1"]}, "RES-001"),
    ],
    "azure": [
        ("replication", "azurerm_storage_object_replication", {"rules": []}, "RES-003"),
        ("a vault of backups in two locations", "azurerm_data_protection_backup_vault", {"redundancy": "GeoRedundant"}, "RES-004"),
    ],
    "alicloud": [
        ("replication", "alicloud_oss_bucket_replication", {"bucket": "x"}, "RES-003"),
    ],
}

PROVIDERS = {"aws": ("aws", "us-east-1"), "gcp": ("google", "us-east1"), "alicloud": ("alicloud", "us-east-1")}


def resources(module):
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from resources(child)


def fits(resource, kind, path):
    """Doors that let out or deny are no place to let somebody in."""
    values = resource["values"]
    if resource["mode"] != "managed" or resource["type"] != kind:
        return False
    if path == "source_ranges":
        return values["direction"] == "INGRESS"
    if kind == "azurerm_network_security_rule":
        return values["direction"] == "Inbound" and values["access"] == "Allow"
    if kind == "alicloud_security_group_rule":
        return values["type"] == "ingress"
    return True


def spoilt(cloud, plan):
    """Every spoilt plan: what was done, the address that must be named, the rule, and the plan."""
    for what, kind, path, value, rule in CHANGES[cloud]:
        changed = copy.deepcopy(plan)
        resource = next(resource for resource in resources(changed["planned_values"]["root_module"]) if fits(resource, kind, path))
        *way, last = path.split(".")
        place = resource["values"]
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        if value is GONE:
            del place[last]
        else:
            place[last] = value
        yield what, resource["address"], rule, changed
    for what, kind, values, rule in PLANNED[cloud]:
        changed = copy.deepcopy(plan)
        address = f"{kind}.spoilt"
        added = {"address": address, "mode": "managed", "type": kind, "name": "spoilt", "values": values}
        changed["planned_values"]["root_module"].setdefault("resources", []).append(added)
        yield what, address, rule, changed
    if cloud in PROVIDERS:
        changed = copy.deepcopy(plan)
        name, place = PROVIDERS[cloud]
        changed["configuration"]["provider_config"][name].setdefault("expressions", {})["region"] = {"constant_value": place}
        yield "the provider configured for another region", f"provider.{name}", "RES-006", changed
