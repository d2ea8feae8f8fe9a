#!/bin/sh
# Deploys P2.8 (quantum-risk-governor) and proves it, as ops/deploy_and_proof.sh does any program.
#
# Usage: ops/p28_deploy_and_proof.sh [options]     exit codes and options: ops/deploy_and_proof.sh
set -eu
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
exec "$here/deploy_and_proof.sh" quantum-risk-governor --operation "P2.8 Deploy — Risk Governor" "$@"
