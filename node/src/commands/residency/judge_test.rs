//! Each rule over plans that keep it and plans that do not, and over resources that are not ours.

use serde_json::json;

use super::super::report;
use super::*;
use crate::config::Regions;

fn verdict(resources: &Value, region: &str) -> Verdict {
    let plan = json!({
        "format_version": "1.2",
        "planned_values": {"root_module": {"child_modules": [{"child_modules": [{"resources": resources}]}]}},
    });
    let regions = Regions::built_in().expect("built in");
    judge(&plan, &Allowed::of(&[regions.facts(&region.parse().expect("a name")).expect("known")]))
}

fn one(kind: &str, values: &Value) -> Value {
    json!([{"address": format!("module.a.module.b.{kind}.x"), "mode": "managed", "type": kind, "values": values}])
}

#[track_caller]
fn rules(kind: &str, values: &Value, wanted: &[&str]) {
    let found: Vec<&str> = verdict(&one(kind, values), "frankfurt").breaches.iter().map(|breach| breach.rule).collect();
    assert_eq!(found, wanted, "{kind} {values}");
}

#[test]
fn a_place_outside_the_region_is_refused_in_every_cloud() {
    rules("aws_ebs_volume", &json!({"availability_zone": "eu-central-1a", "encrypted": true}), &[]);
    rules("aws_ebs_volume", &json!({"availability_zone": "us-east-1a", "encrypted": true}), &["RES-001"]);
    rules("google_compute_disk", &json!({"zone": "europe-west3-a"}), &[]);
    rules("google_compute_disk", &json!({"zone": "europe-west4-a"}), &["RES-001"]);
    rules("azurerm_managed_disk", &json!({"location": "Germany West Central", "zone": "1"}), &[]);
    rules("azurerm_managed_disk", &json!({"location": "westus", "zone": "1"}), &["RES-001"]);
    rules("alicloud_ecs_disk", &json!({"zone_id": "eu-central-1a", "encrypted": true}), &[]);
    rules("alicloud_ecs_disk", &json!({"zone_id": "cn-hangzhou-h", "encrypted": true}), &["RES-001"]);
}

#[test]
fn the_same_id_of_another_cloud_is_another_place() {
    let disk = one("google_compute_disk", &json!({"zone": "eu-central-1-a"}));
    assert_eq!(verdict(&disk, "frankfurt").breaches.len(), 1);
}

#[test]
fn a_disk_beside_its_node_is_refused() {
    let plan = |zone: &str| {
        json!([
            {"address": "a", "mode": "managed", "type": "alicloud_instance",
             "values": {"availability_zone": "ap-northeast-1a", "system_disk_encrypted": true}},
            {"address": "b", "mode": "managed", "type": "aws_ebs_volume",
             "values": {"availability_zone": "ap-northeast-3a", "encrypted": true}},
            {"address": "c", "mode": "managed", "type": "aws_instance",
             "values": {"availability_zone": zone, "root_block_device": [{"encrypted": true}]}},
        ])
    };
    let found = verdict(&plan("ap-northeast-1a"), "tokyo").breaches;
    assert_eq!(found.iter().map(|breach| breach.rule).collect::<Vec<_>>(), ["RES-002"]);
    assert!(verdict(&plan("ap-northeast-3a"), "tokyo").breaches.is_empty());
    let mut by_network = plan("ap-northeast-1a");
    by_network[2] = json!({"address": "c", "mode": "managed", "type": "aws_subnet",
                           "values": {"availability_zone": "ap-northeast-1a"}});
    let found = verdict(&by_network, "tokyo").breaches;
    assert_eq!(
        found.iter().map(|breach| breach.rule).collect::<Vec<_>>(),
        ["RES-002"],
        "a network says where machines are"
    );
}

#[test]
fn copies_are_refused() {
    rules("aws_s3_bucket_replication_configuration", &json!({"bucket": "x"}), &["RES-003"]);
    rules("alicloud_oss_bucket_replication", &json!({}), &["RES-003"]);
    rules("aws_dynamodb_table", &json!({"replica": [{"region_name": "us-east-1"}]}), &["RES-003"]);
    rules("aws_dynamodb_table", &json!({"replica": []}), &[]);
}

#[test]
fn copies_hidden_in_arguments_are_refused() {
    rules("aws_s3_bucket", &json!({"replication_configuration": [{"role": "r"}]}), &["RES-003"]);
    rules("aws_s3_bucket", &json!({"replication_configuration": []}), &[]);
    let policy = |rule: Value| json!({"policy_details": [{"schedule": [{"cross_region_copy_rule": rule}]}]});
    rules("aws_dlm_lifecycle_policy", &policy(json!([{"target": "us-east-1"}])), &["RES-003"]);
    rules("aws_dlm_lifecycle_policy", &policy(json!([])), &[]);
    rules("azurerm_site_recovery_replicated_vm", &json!({"name": "x"}), &["RES-003"]);
    rules("google_compute_snapshot", &json!({"zone": "europe-west3-a", "storage_locations": ["europe-west3"]}), &[]);
    rules("google_compute_snapshot", &json!({"zone": "europe-west3-a", "storage_locations": ["us"]}), &["RES-001"]);
    for (key, value) in [
        ("geo_redundant_backup_enabled", json!(true)),
        ("redundancy", json!("GeoRedundant")),
        ("storage_mode_type", json!("GeoRedundant")),
    ] {
        rules("azurerm_recovery_services_vault", &json!({"location": "germanywestcentral", key: value}), &["RES-004"]);
    }
    rules("azurerm_data_protection_backup_vault", &json!({"redundancy": "LocallyRedundant"}), &[]);
    rules("azurerm_postgresql_flexible_server", &json!({"geo_redundant_backup_enabled": false}), &[]);
}

#[test]
fn what_everybody_could_read_is_refused() {
    let google = "google_storage_bucket_iam_member";
    rules(google, &json!({"member": "allUsers"}), &["RES-008"]);
    rules(google, &json!({"member": "serviceAccount:a@b.example"}), &[]);
    rules("google_storage_bucket_iam_binding", &json!({"members": ["allAuthenticatedUsers"]}), &["RES-008"]);
    rules("azurerm_storage_account", &json!({"allow_nested_items_to_be_public": true}), &["RES-008"]);
    rules("azurerm_storage_container", &json!({"container_access_type": "blob"}), &["RES-008"]);
    rules("azurerm_storage_container", &json!({"container_access_type": "private"}), &[]);
    rules("alicloud_oss_bucket", &json!({"acl": "public-read"}), &["RES-008"]);
    let policy = |effect: &str, who: Value, condition: Value| {
        let said = json!({"Effect": effect, "Principal": who, "Action": "s3:GetObject", "Condition": condition});
        let mut said = said;
        if condition.is_null() {
            said.as_object_mut().expect("an object").remove("Condition");
        }
        json!({"policy": json!({"Statement": [said]}).to_string()})
    };
    let (bucket, nothing) = ("aws_s3_bucket_policy", Value::Null);
    rules(bucket, &policy("Allow", json!("*"), nothing.clone()), &["RES-008"]);
    rules(bucket, &policy("Allow", json!({"AWS": ["*"]}), nothing.clone()), &["RES-008"]);
    rules(bucket, &policy("Deny", json!("*"), nothing.clone()), &[]);
    rules(bucket, &policy("Allow", json!({"Service": "logs.amazonaws.com"}), nothing), &[]);
    rules(bucket, &policy("Allow", json!("*"), json!({"StringEquals": {"aws:SourceVpce": "vpce-1"}})), &[]);
    let block = |key: &str| {
        let mut said = json!({"block_public_acls": true, "block_public_policy": true, "ignore_public_acls": true, "restrict_public_buckets": true});
        said[key] = json!(false);
        said
    };
    rules("aws_s3_bucket_public_access_block", &block("unknown"), &[]);
    rules("aws_s3_bucket_public_access_block", &block("block_public_policy"), &["RES-008"]);
}

#[test]
fn keys_abroad_are_refused_in_each_clouds_own_words() {
    let google = |place: &str| {
        json!({"zone": "europe-west3-a",
               "disk_encryption_key": [{"kms_key_self_link": format!("projects/p/locations/{place}/keyRings/r/cryptoKeys/k")}]})
    };
    rules("google_compute_disk", &google("europe-west3"), &[]);
    rules("google_compute_disk", &google("us-east1"), &["RES-008"]);
    rules("google_compute_disk", &google("global"), &["RES-008"]);
    let alibaba = |text: &str| json!({"policy_document": text});
    let policy = "alicloud_ram_policy";
    rules(policy, &alibaba(r#"{"Resource":["acs:kms:eu-central-1:1:key/k"]}"#), &[]);
    rules(policy, &alibaba(r#"{"Resource":["acs:kms:us-east-1:1:key/k"]}"#), &["RES-008"]);
    rules(policy, &alibaba(r#"{"Resource":["acs:oss:oss-us-east-1:1:b/*"]}"#), &["RES-007"]);
    rules(policy, &alibaba(r#"{"Resource":["acs:oss:*:1:b/*", "acs:ram::1:role/r"]}"#), &[]);
}

#[test]
fn what_lies_in_more_than_one_place_is_refused() {
    rules("aws_kms_key", &json!({"multi_region": true}), &["RES-004"]);
    rules("aws_kms_key", &json!({"multi_region": false}), &[]);
    rules("google_storage_bucket", &json!({"location": "EU"}), &["RES-004"]);
    rules("google_storage_bucket", &json!({"location": "EUROPE-WEST3"}), &[]);
    rules("google_kms_key_ring", &json!({"location": "global"}), &["RES-004"]);
    let account = |kind: &str| json!({"location": "germanywestcentral", "account_replication_type": kind});
    for kind in ["GRS", "RAGRS", "GZRS", "RAGZRS"] {
        rules("azurerm_storage_account", &account(kind), &["RES-004"]);
    }
    rules("azurerm_storage_account", &account("ZRS"), &[]);
    rules("alicloud_oss_bucket", &json!({"transfer_acceleration": [{"enabled": true}]}), &["RES-004"]);
}

#[test]
fn doors_for_everybody_are_refused_and_doors_for_somebody_are_not() {
    let aws = "aws_vpc_security_group_ingress_rule";
    rules(aws, &json!({"cidr_ipv4": "0.0.0.0/0"}), &["RES-005"]);
    rules(aws, &json!({"cidr_ipv4": "128.0.0.0/1"}), &["RES-005"]);
    rules(aws, &json!({"cidr_ipv6": "::/0"}), &["RES-005"]);
    rules(aws, &json!({"cidr_ipv4": "192.0.2.7/32"}), &[]);
    rules("aws_security_group", &json!({"ingress": [{"cidr_blocks": ["10.0.0.0/8", "0.0.0.0/0"]}]}), &["RES-005"]);
    rules("aws_security_group_rule", &json!({"type": "egress", "cidr_blocks": ["0.0.0.0/0"]}), &[]);
    let google =
        |direction: &str, allow: Value| json!({"direction": direction, "source_ranges": ["0.0.0.0/0"], "allow": allow});
    rules("google_compute_firewall", &google("INGRESS", json!([{"protocol": "udp"}])), &["RES-005"]);
    rules("google_compute_firewall", &google("INGRESS", json!([])), &[]);
    let azure = |access: &str| json!({"direction": "Inbound", "access": access, "source_address_prefix": "*"});
    rules("azurerm_network_security_rule", &azure("Allow"), &["RES-005"]);
    rules("azurerm_network_security_rule", &azure("Deny"), &[]);
    rules("azurerm_network_security_group", &json!({"security_rule": [azure("Allow")]}), &["RES-005"]);
    let ali = |policy: &str| json!({"type": "ingress", "policy": policy, "cidr_ip": "0.0.0.0/0"});
    rules("alicloud_security_group_rule", &ali("accept"), &["RES-005"]);
    rules("alicloud_security_group_rule", &ali("drop"), &[]);
}

#[test]
fn a_firewall_that_names_no_source_is_open_to_everybody() {
    let firewall = "google_compute_firewall";
    rules(firewall, &json!({"allow": [{"protocol": "udp"}]}), &["RES-005"]);
    rules(firewall, &json!({"allow": [{"protocol": "udp"}], "source_tags": ["node"]}), &[]);
    rules(firewall, &json!({"allow": [{"protocol": "udp"}], "direction": "EGRESS"}), &[]);
}

#[test]
fn a_provider_of_another_region_is_refused_where_the_plan_says_which() {
    let regions = Regions::built_in().expect("built in");
    let frankfurt = Allowed::of(&[regions.facts(&"frankfurt".parse().expect("a name")).expect("known")]);
    let plan = |region: Value, value: &str| {
        json!({
            "planned_values": {},
            "variables": {"where": {"value": value}},
            "configuration": {"provider_config": {"aws.a": {"name": "aws", "expressions": {"region": region}}}},
        })
    };
    let count =
        |plan: &Value| judge(plan, &frankfurt).breaches.iter().filter(|breach| breach.rule == "RES-006").count();
    assert_eq!(count(&plan(json!({"constant_value": "ap-northeast-1"}), "")), 1);
    assert_eq!(count(&plan(json!({"references": ["var.where"]}), "ap-northeast-1")), 1);
    assert_eq!(count(&plan(json!({"references": ["var.where"]}), "eu-central-1")), 0);
    assert_eq!(count(&plan(json!({"constant_value": "eu-central-1"}), "")), 0);
}

#[test]
fn names_of_things_abroad_are_refused_wherever_they_stand() {
    let log = |arn: &str| json!({"settings": [{"note": "x", "target": arn}]});
    rules("aws_flow_log", &log("arn:aws:logs:us-east-1:1:log-group:x"), &["RES-007"]);
    rules("aws_flow_log", &log("arn:aws:logs:eu-central-1:1:log-group:x"), &[]);
    rules("aws_flow_log", &log("arn:aws:s3:::bucket"), &[]);
    rules("aws_flow_log", &log("{\"Resource\": \"arn:aws:sns:us-east-1:1:x\"}"), &["RES-007"]);
    rules("aws_cloudwatch_log_group", &json!({"kms_key_id": "arn:aws:kms:us-east-1:1:key/x"}), &["RES-008"]);
}

#[test]
fn what_is_plain_or_not_known_to_be_encrypted_is_refused() {
    rules("aws_ebs_volume", &json!({}), &["RES-008"]);
    rules("aws_ebs_volume", &json!({"encrypted": false}), &["RES-008"]);
    rules("aws_instance", &json!({"root_block_device": [{"encrypted": false}]}), &["RES-008"]);
    rules("aws_instance", &json!({"root_block_device": [{"encrypted": true}]}), &[]);
    rules("alicloud_oss_bucket_acl", &json!({"acl": "public-read"}), &["RES-008"]);
    rules("alicloud_oss_bucket_acl", &json!({"acl": "private"}), &[]);
}

#[test]
fn data_sources_are_not_judged_and_strange_providers_are_named() {
    let found = verdict(
        &json!([
            {"address": "data.aws_ami.x", "mode": "data", "type": "aws_ebs_volume", "values": {}},
            {"address": "terraform_data.x", "mode": "managed", "type": "terraform_data", "values": {}},
            {"address": "oci_disk.x", "mode": "managed", "type": "oci_disk", "values": {}},
        ]),
        "tokyo",
    );
    assert_eq!((found.judged, found.strange, found.breaches.len()), (0, vec!["oci_disk.x".to_owned()], 0));
}

#[test]
fn a_report_names_rule_and_address_in_each_form() {
    let found = verdict(&one("aws_kms_key", &json!({"multi_region": true})), "tokyo");
    let address = "module.a.module.b.aws_kms_key.x";
    let text = report::text(&found);
    assert!(
        text.contains("RES-004") && text.contains(address) && text.contains("1 resources judged, 1 breaches"),
        "{text}"
    );
    assert_eq!(report::json(&found)["breaches"][0]["address"], address);
    let sarif = report::sarif(&found, "plan.json");
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "RES-004");
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"], "RES-004");
}
